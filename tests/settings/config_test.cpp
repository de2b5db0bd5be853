#include <set>

#include "ekd/core/error.h"
#include "ekd/settings/config.h"
#include "ekd/settings/config_io.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace ekd {
namespace {

class Settings : public ::testing::Test {
 protected:
  Config config_;
  std::vector<Field> fields_ = config_fields(config_, Command::kDistill);
};

TEST_F(Settings, DefaultsAreThePapers) {
  const Config teacher = default_config(Command::kTrainTeacher), student = default_config(Command::kDistill);
  EXPECT_EQ(teacher.model.name, "wrn_40_2");
  EXPECT_EQ(teacher.optim.batch_size, 128);
  EXPECT_EQ(teacher.optim.lr, 0.05);
  EXPECT_EQ(teacher.optim.epochs, 500);
  EXPECT_EQ(student.model.name, "shufflenet_v1");
  EXPECT_EQ(student.optim.batch_size, 64);
  EXPECT_EQ(student.optim.lr, 0.01);
  EXPECT_EQ(student.distill.temperature, 50);
  EXPECT_EQ(student.distill.ce_weight, 0.2);
}

TEST_F(Settings, EveryDefaultIsAccepted) {
  const auto json = config_json(fields_);
  Config other;
  EXPECT_NO_THROW(apply_json(config_fields(other, Command::kDistill), json, "defaults"));
}

TEST_F(Settings, KeysAndFlagsAreUnique) {
  std::set<std::string> keys, flags;
  for (const auto& field : fields_) {
    EXPECT_TRUE(keys.insert(field.key).second) << field.key;
    EXPECT_TRUE(field.flag.empty() || flags.insert(field.flag).second) << field.flag;
    EXPECT_FALSE(field.help.empty()) << field.key;
  }
}

TEST(LossSettings, AreFieldsOfTheirOwn) {
  DistillConfig distill;
  const auto fields = distill_fields(distill, {{"dkd_beta", 8, at_least(0), "weight of the other classes"}});
  EXPECT_EQ(distill.loss_settings.at("dkd_beta"), 8);
  EXPECT_EQ(config_json(fields)["distill"]["dkd_beta"], 8);
  apply_text(fields, "distill.dkd_beta", "2", "--set");
  EXPECT_EQ(distill.loss_settings.at("dkd_beta"), 2);
  EXPECT_THROW(apply_text(fields, "distill.dkd_beta", "-1", "--set"), UsageError);
}

TEST_F(Settings, ATextMayBeANumber) {
  const auto set = [&](const std::string& text) {
    apply_text(fields_, "distill.teacher_temperature", text, "--set");
    return config_.distill.teacher_temperature;
  };
  EXPECT_EQ(set("fit"), "fit");
  EXPECT_EQ(set("2.50"), "2.5");
  EXPECT_EQ(set("2e0"), "2") << "equal numbers are equal settings";
  EXPECT_EQ(set("none"), "none");
  apply_json(fields_, {{"distill", {{"teacher_temperature", 3}}}}, "file");
  EXPECT_EQ(config_.distill.teacher_temperature, "3");
  for (const char* text : {"0", "-1", "inf", "nan", "2x", "", "Fit"})
    EXPECT_ERROR(set(text), UsageError,
                 "distill.teacher_temperature takes one of none, fit, or a number in [1e-06, 1000000], not");
}

TEST_F(Settings, TextBecomesTheTypedValue) {
  apply_text(fields_, "optim.lr", "1e-3", "--lr");
  apply_text(fields_, "optim.milestones", "1,20", "--set");
  apply_text(fields_, "optim.nesterov", "true", "--set");
  apply_text(fields_, "distill.teachers", "a,b=c", "--set");
  EXPECT_EQ(config_.optim.lr, 1e-3);
  EXPECT_EQ(config_.optim.milestones, (std::vector<std::int64_t>{1, 20}));
  EXPECT_TRUE(config_.optim.nesterov);
  EXPECT_EQ(config_.distill.teachers, (std::vector<std::string>{"a", "b=c"}));
  apply_text(fields_, "optim.milestones", "", "--set");
  EXPECT_TRUE(config_.optim.milestones.empty());
}

TEST_F(Settings, WhatDoesNotFitNamesSourceKeyAndWhatIsAccepted) {
  EXPECT_ERROR(apply_text(fields_, "optim.lr", "fast", "--lr"), UsageError,
               "--lr: optim.lr takes a number > 0, not 'fast'");
  EXPECT_ERROR(apply_text(fields_, "optim.lr", "0", "--lr"), UsageError, "takes a number > 0");
  EXPECT_ERROR(apply_text(fields_, "optim.lr", "nan", "--lr"), UsageError, "takes a number > 0");
  EXPECT_ERROR(apply_text(fields_, "optim.epochs", "1.5", "--epochs"), UsageError,
               "takes a whole number in [1, 1000000000]");
  EXPECT_ERROR(apply_text(fields_, "optim.epochs", "99999999999999999999", "--epochs"), UsageError, "whole number");
  EXPECT_ERROR(apply_text(fields_, "optim.milestones", "1,x", "--set"), UsageError, "list of whole numbers");
  EXPECT_ERROR(apply_text(fields_, "model.name", "wrn_41_2", "EKD_MODEL"), UsageError, "did you mean wrn_40_2?");
  EXPECT_ERROR(apply_text(fields_, "optim.lrr", "1", "--set"), UsageError, "did you mean optim.lr?");
  EXPECT_ERROR(apply_json(fields_, {{"optim", {{"epochs", 2.5}}}}, "c.json"), UsageError,
               "c.json: optim.epochs takes a whole number");
  EXPECT_ERROR(apply_json(fields_, {{"optim", {{"epochs", "2"}}}}, "c.json"), UsageError, "not \"2\"");
  EXPECT_ERROR(apply_json(fields_, {{"optimm", {{"epochs", 2}}}}, "c.json"), UsageError, "unknown key 'optimm'");
  EXPECT_ERROR(apply_json(fields_, {{"optim", 3}}, "c.json"), UsageError, "not a JSON object");
}

TEST_F(Settings, DistillationKeysBelongToDistillOnly) {
  Config teacher;
  const auto fields = config_fields(teacher, Command::kTrainTeacher);
  EXPECT_ERROR(apply_text(fields, "distill.temperature", "4", "--set"), UsageError, "unknown key");
}

TEST_F(Settings, FilesAreReadStrictly) {
  const test::TemporaryFolder folder;
  const auto path = (folder / "c.json").string();
  test::write_text(path, R"({"optim": {"lr": 0.1, "lr": 0.2}})");
  EXPECT_ERROR(apply_file(fields_, path), UsageError, "stands twice");
  test::write_text(path, "{\"optim\": ");
  EXPECT_ERROR(apply_file(fields_, path), UsageError, "no valid JSON");
  EXPECT_ERROR(apply_file(fields_, (folder / "absent.json").string()), UsageError, "absent.json");
  test::write_text(path, R"({"optim": {"lr": 1}})");
  apply_file(fields_, path);
  EXPECT_EQ(config_.optim.lr, 1);
}

TEST_F(Settings, DifferencesAreNamedByRule) {
  Config before = config_;
  config_.optim.lr = 0.5;
  config_.run.threads = 3;
  config_.data.dir = "elsewhere";
  const auto old = config_fields(before, Command::kDistill);
  EXPECT_EQ(differences(fields_, old, OnResume::kMustMatch), (std::vector<std::string>{"optim.lr (0.5, was 0.05)"}));
  EXPECT_EQ(differences(fields_, old, OnResume::kWarn), (std::vector<std::string>{"run.threads (3, was 0)"}));
}

}  // namespace
}  // namespace ekd
