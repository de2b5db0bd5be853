// Many students, one stream: what a run of a group writes is what it writes alone.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <map>

#include "ekd/core/error.h"
#include "ekd/core/signals.h"
#include "ekd/engine/model_file.h"
#include "ekd/engine/training_run.h"
#include "ekd/engine/training_setup.h"
#include "ekd/models/registry.h"
#include "ekd/run/metric_log.h"
#include "ekd/run/run_dir.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace ekd {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

class GroupTest : public ::testing::Test {
 protected:
  GroupTest() {
    spdlog::set_level(spdlog::level::off);
    for (const auto& [name, seed] : {std::pair("t0", 100), std::pair("t1", 101)})
      save_weights(teacher(name), *make_model({.name = "shufflenet_v1", .classes = 4}, seed), {});
  }
  ~GroupTest() override {
    set_stop_deadline(std::chrono::steady_clock::time_point::max());
    spdlog::set_level(spdlog::level::warn);
  }

  fs::path teacher(const std::string& name) const { return folder_ / (name + ".safetensors"); }

  // Students of one stream that differ in all that may differ. 10 images in batches of 4: 3 steps an epoch.
  Config config(const std::string& name) const {
    Config config = default_config(Command::kDistill);
    config.data = {.dataset = "synthetic", .train_limit = 10, .test_limit = 6, .classes = 4, .val_size = 6};
    config.augment.name = "mixup";
    config.optim.epochs = 2;
    config.optim.batch_size = 4;
    config.optim.lr = name.starts_with("diverging") ? 1e30 : 0.002;
    config.run = {.seed = 3, .device = "cpu", .precision = "fp32", .threads = 1};
    const std::string one = teacher("t0").string(), other = teacher("t1").string();
    config.distill.teachers = {one, other};
    if (name == "softmax") {
      config.distill = {{"x=" + other, "y=" + one}, "avg-softmax", 4, 0.5, 0.5};
      config.optim.nesterov = true;
      config.optim.schedule = "onecycle";
      config.eval = {.every = 2, .batch_size = 3};
    } else if (name == "plain") {
      config.distill.teachers = {"z=" + other};
      config.optim.momentum = 0;
      config.optim.lr = 0.01;
      config.model.init = one;
    }
    return config;
  }

  TrainingRequest request(const std::string& under, const std::string& name) const {
    return {.command = Command::kDistill,
            .config = config(name),
            .run_dir = folder_ / under / name,
            .resume = true,
            .command_line = {"ekd"}};
  }

  // Errors of the last call land in errors_ by name.
  std::vector<TrainingOutcome> train(const std::vector<std::string>& names,
                                     const std::function<void()>& on_error = {}) {
    errors_.clear();
    std::vector<TrainingRequest> requests;
    for (const auto& name : names) requests.push_back(request("group", name));
    return run_group(requests, [&](std::size_t run, const std::exception_ptr& error) {
      errors_[names.at(run)] = error;
      if (on_error) on_error();
    });
  }

  // The group's run against one alone.
  void expect_as_alone(const std::string& name) {
    SCOPED_TRACE(name);
    const fs::path alone = folder_ / "alone" / name, grouped = folder_ / "group" / name;
    const TrainingOutcome outcome = run_training(request("alone", name));
    ASSERT_EQ(run_state(grouped), RunState::kFinished);
    for (const char* file : {"config.json", "last.safetensors", "best.safetensors", "predictions.safetensors",
                             "predictions-val.safetensors"})
      EXPECT_EQ(test::read_text(alone / file), test::read_text(grouped / file)) << file;
    EXPECT_EQ(timeless_metrics(alone), timeless_metrics(grouped));
    EXPECT_EQ(timeless_metrics(grouped).size(), 2U);
    ordered_json ours = json(grouped / "result.json"), theirs = outcome.result;
    ours.erase("seconds");
    theirs.erase("seconds");
    EXPECT_EQ(ours, theirs);
    const ordered_json record = json(grouped / "run.json"), alone_record = json(alone / "run.json");
    EXPECT_EQ(record["teachers"], alone_record["teachers"]);
    EXPECT_EQ(record["status"], "finished");
    EXPECT_EQ(alone_record["group"], ordered_json::array());
  }

  static std::vector<ordered_json> timeless_metrics(const fs::path& run) {
    auto lines = read_metrics(run / "metrics.jsonl");
    for (auto& line : lines) {
      EXPECT_GT(line["seconds"].get<double>(), 0);
      line.erase("seconds");
      line.erase("images_per_s");
    }
    return lines;
  }

  static ordered_json json(const fs::path& path) { return ordered_json::parse(test::read_text(path)); }

  void rethrow(const std::string& name) const { std::rethrow_exception(errors_.at(name)); }

  test::TemporaryFolder folder_;
  std::map<std::string, std::exception_ptr> errors_;
};

TEST_F(GroupTest, StudentsTrainAsIfAlone) {
  const auto outcomes = train({"add", "softmax", "plain"});
  EXPECT_TRUE(errors_.empty());
  for (const auto& outcome : outcomes) EXPECT_EQ(outcome.result["epochs"], 2);
  for (const char* name : {"add", "softmax", "plain"}) expect_as_alone(name);
  EXPECT_EQ(json(folder_ / "group/plain/run.json")["group"], ordered_json({"add", "softmax", "plain"}));
}

TEST_F(GroupTest, CutOffWithinAnEpochAndGoneOnInOtherCompany) {
  // The diverging student fails in its second step; the others stop after it.
  const auto stop = [] { set_stop_deadline(std::chrono::steady_clock::now()); };
  const auto go_on = [] { set_stop_deadline(std::chrono::steady_clock::time_point::max()); };
  auto outcomes = train({"add", "diverging-1"}, stop);
  EXPECT_EQ(outcomes[0].stopped, kDeadline);
  EXPECT_ERROR(rethrow("diverging-1"), NonFiniteError, "step 1 of epoch 0");
  go_on();
  outcomes = train({"softmax", "diverging-2", "add"}, stop);  // add stands at step 2 and waits
  EXPECT_EQ(outcomes[0].stopped, kDeadline);
  EXPECT_EQ(outcomes[2].stopped, kDeadline);
  go_on();
  outcomes = train({"add", "plain", "softmax"});  // plain is new
  for (const char* name : {"add", "softmax", "plain"}) expect_as_alone(name);

  // A finished run tells its result; one whose process ended just before the result makes it.
  const auto result = outcomes[0].result;
  fs::remove(folder_ / "group/add/result.json");
  outcomes = train({"add", "plain"});
  EXPECT_EQ(outcomes[0].result, result);
  EXPECT_EQ(outcomes[1].result, json(folder_ / "group/plain/result.json"));
}

TEST_F(GroupTest, ARunThatFailsEndsAlone) {
  fs::create_directories(folder_ / "group/blocked/last.safetensors/in the way");
  fs::create_directories(folder_ / "group/unreadable/checkpoint.safetensors");
  const RunDir held(folder_ / "group/held");
  std::vector<TrainingRequest> requests;
  train({"diverging", "blocked", "add", "held", "unreadable", "plain"});
  EXPECT_EQ(errors_.size(), 4U);
  EXPECT_ERROR(rethrow("diverging"), NonFiniteError, "'kd' is not finite");
  EXPECT_ERROR(rethrow("blocked"), IoError, "last.safetensors");
  EXPECT_ERROR(rethrow("held"), LockedError, "held by pid");
  EXPECT_ERROR(rethrow("unreadable"), IoError, "checkpoint.safetensors");
  EXPECT_FALSE(fs::exists(folder_ / "group/held/config.json"));
  for (const char* name : {"diverging", "blocked", "unreadable"}) {
    const auto record = json(folder_ / "group" / name / "run.json");
    EXPECT_EQ(record["status"], "failed");
    EXPECT_THAT(test::read_text(folder_ / "group" / name / "log.txt"),
                ::testing::HasSubstr("error: " + record["reason"].get<std::string>()));
    EXPECT_NO_THROW(RunDir(folder_ / "group" / name)) << "the lock is let go";
  }
  for (const char* name : {"add", "plain"}) expect_as_alone(name);
}

TEST_F(GroupTest, WhatAllShareFailsAllOnce) {
  auto one = request("group", "add"), other = request("group", "plain");
  for (auto* request : {&one, &other}) request->config.data = {.dataset = "cifar100", .dir = folder_ / "absent"};
  int failures = 0;
  const auto outcomes = run_group({one, other}, [&](std::size_t, const std::exception_ptr& error) {
    ++failures;
    EXPECT_ERROR(std::rethrow_exception(error), DataError, "absent");
  });
  EXPECT_EQ(failures, 2);
  EXPECT_TRUE(outcomes[0].result.empty());
  EXPECT_FALSE(fs::exists(folder_ / "group"));
}

TEST_F(GroupTest, EachTeacherIsLoadedAndAskedOnce) {
  const auto one = request("group", "add"), other = request("group", "softmax");
  CommonSetup common = prepare_common(one.config);
  const OwnSetup first = prepare_own(one, common), second = prepare_own(other, common);
  ASSERT_EQ(common.teachers.size(), 2U);
  EXPECT_EQ(second.teachers[0].name, "x");
  EXPECT_EQ(first.teachers[1].name, "t1");
  EXPECT_EQ(second.teachers[0].model, first.teachers[1].model);
  prepare_stream(one.config, common);
  common.stream->begin_epoch(0);
  const Batch batch = common.stream->batch(0, {{1, {}}});  // of those that are needed
  EXPECT_FALSE(batch.teachers[0].logits.defined());
  EXPECT_TRUE(batch.teachers[1].logits.defined());
  EXPECT_TRUE(batch.teachers[1].features.empty());
}

}  // namespace
}  // namespace ekd
