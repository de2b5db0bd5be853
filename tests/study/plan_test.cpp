#include "ekd/study/plan.h"

#include <set>

#include "ekd/core/error.h"
#include "ekd/losses/distillation.h"
#include "ekd/study/plan_runner.h"
#include "study/plan_rows.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace ekd {
namespace {

using nlohmann::json;

// A list, also of one element: braces alone would be ambiguous.
json list(const std::vector<json>& items) { return items; }

class PlanTest : public ::testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const nlohmann::json& plan) {
    test::write_text(folder_ / name, plan.dump());
    return folder_ / name;
  }
  Plan read(const nlohmann::json& plan) { return read_plan(write("plan.json", plan)); }

  test::TemporaryFolder folder_;
  json teacher_ = {{"name", "t"}, {"command", "train-teacher"}};
  json student_ = {{"name", "s"}, {"command", "distill"}, {"teachers", list({"t"})}};
};

TEST_F(PlanTest, RunsComeAfterTheirTeachers) {
  const Plan plan = read({{"runs", list({student_, teacher_})}});
  ASSERT_EQ(plan.runs.size(), 2U);
  EXPECT_EQ(plan.runs[0].name, "t");
  EXPECT_EQ(plan.runs[1].name, "s");
  EXPECT_EQ(plan.seeds, (std::vector<std::int64_t>{0}));
}

TEST_F(PlanTest, PresetsAreLayersBetweenThePlanAndItsRows) {
  teacher_["config"] = {{"optim", {{"lr", 3}}}};
  write("base.json",
        {{"config", {{"all", {{"optim", {{"lr", 1}, {"epochs", 1}}}}}}}, {"runs", list({teacher_, student_})}});
  const auto path =
      write("preset.json",
            {{"extends", "base.json"},
             {"seeds", list({4, 5})},
             {"config",
              {{"all", {{"optim", {{"lr", 2}, {"epochs", 7}}}}}, {"distill", {{"distill", {{"temperature", 9}}}}}}}});
  const Plan plan = read_plan(path);
  EXPECT_EQ(plan.seeds, (std::vector<std::int64_t>{4, 5}));
  ASSERT_EQ(plan.runs[0].layers.size(), 3U);  // the base's, the preset's, the row's
  EXPECT_EQ(plan.runs[0].layers[1]["optim"]["epochs"], 7);
  EXPECT_EQ(plan.runs[0].layers[2]["optim"]["lr"], 3);
  EXPECT_EQ(plan.runs[1].layers.back()["distill"]["temperature"], 9);
}

TEST_F(PlanTest, WithoutDropsRows) {
  write("base.json", {{"runs", list({teacher_, student_})}});
  EXPECT_EQ(read({{"extends", "base.json"}, {"without", list({"s"})}}).runs.size(), 1U);
  EXPECT_ERROR(read({{"extends", "base.json"}, {"without", list({"x"})}}), UsageError, "'x', which is no row");
  json nameless = teacher_;
  nameless["name"] = 5;
  EXPECT_ERROR(read({{"runs", list({nameless, student_})}, {"without", list({"s"})}}), UsageError,
               "a run needs a text 'name'");
}

TEST_F(PlanTest, OrderingsGoWithTheirRows) {
  json other = teacher_, third = teacher_;
  other["name"] = "u";
  third["name"] = "v";
  write("base.json",
        {{"runs", list({teacher_, other, third})},
         {"orderings", list({{{"better", "t"}, {"than", list({"u", "v"})}, {"in", list({"accuracy", "ece15"})}},
                             {{"better", "u"}, {"than", list({"t"})}, {"in", list({"nll"})}}})}});
  const auto claims = [&](const json& plan) {
    std::vector<std::string> all;
    for (const auto& claim : read(plan).orderings) all.push_back(claim.better + " " + claim.than + " " + claim.metric);
    return all;
  };
  EXPECT_EQ(claims({{"extends", "base.json"}}),
            (std::vector<std::string>{"t u accuracy", "t u ece15", "t v accuracy", "t v ece15", "u t nll"}));
  EXPECT_EQ(claims({{"extends", "base.json"}, {"without", list({"u"})}}),
            (std::vector<std::string>{"t v accuracy", "t v ece15"}));
  EXPECT_TRUE(claims({{"extends", "base.json"}, {"without", list({"t"})}}).empty());
}

TEST_F(PlanTest, ErrorsNameTheRowAndWhatIsAccepted) {
  EXPECT_ERROR(read({{"runs", list(std::vector<json>{})}}), UsageError, "at least one run");
  EXPECT_ERROR(read({{"run", list({teacher_})}}), UsageError,
               "unknown key 'run'; accepted: title, extends, seeds, config, runs");
  EXPECT_ERROR(read({{"runs", list({student_})}}), UsageError, "run 's': its teacher 't' is no run of the plan");
  EXPECT_ERROR(read({{"runs", list({teacher_, teacher_})}}), UsageError, "two rows are named 't'");
  EXPECT_ERROR(read({{"runs", list({{{"name", "x"}, {"command", "distil"}}})}}), UsageError,
               "unknown command 'distil'");
  EXPECT_ERROR(read({{"runs", list({{{"name", "x/y"}, {"command", "train-teacher"}}})}}), UsageError,
               "names become folders");
  EXPECT_ERROR(read({{"runs", list({{{"name", "x"}, {"command", "distill"}}})}}), UsageError,
               "'teachers' go with distill");
  EXPECT_ERROR(read({{"runs", list({teacher_})}, {"seeds", list({0, 0})}}), UsageError, "each once");
  EXPECT_ERROR(read({{"runs", list({teacher_})}, {"seeds", list({-1})}}), UsageError, "whole numbers");
  EXPECT_ERROR(
      read({{"runs", list({teacher_})}, {"evaluations", list({{{"name", "e"}, {"members", list({{{"run", "q"}}})}}})}}),
      UsageError, "its member 'q' is no run");
  json loop = student_, pool = student_;
  loop["teachers"] = list({"p"});
  pool["name"] = "p";
  pool["teachers"] = list({"s"});
  EXPECT_ERROR(read({{"runs", list({loop, pool})}}), UsageError, "its own teacher");
  write("circle.json", {{"extends", "circle.json"}});
  EXPECT_ERROR(read_plan(folder_ / "circle.json"), UsageError, "circle");
}

TEST_F(PlanTest, OverridesGoToTheRunsThatKnowThem) {
  PlanRequest request{.plan = read({{"runs", list({teacher_, student_})}}),
                      .out = folder_ / "out",
                      .overrides = {{"distill.temperature", 4}, {"optim.epochs", 3}}};
  const auto rows = plan_status(request);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].epochs, 3);
  EXPECT_EQ(rows[0].state, RowState::kPending);
  request.overrides = {{"optim.epoch", 3}};
  EXPECT_ERROR(plan_status(request), UsageError, "unknown key 'optim.epoch'");
}

TEST_F(PlanTest, OnlyAndSharesBringWhatTheyNeed) {
  json other = teacher_, late = student_;
  other["name"] = "u";
  late["name"] = "v";
  late["teachers"] = list({"u"});
  PlanRequest request{
      .plan = read({{"runs", list({teacher_, other, student_, late})}}), .out = folder_ / "out", .only = {"v"}};
  auto rows = plan_status(request);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].name, "u");
  EXPECT_EQ(rows[1].name, "v");
  request.only = {"w"};
  EXPECT_ERROR(plan_status(request), UsageError, "--only: 'w' is no row");
  request.only.clear();
  request.shares = 4;
  request.share = 2;  // row s, which needs t
  rows = plan_status(request);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].name, "t");
  EXPECT_EQ(rows[1].name, "s");
}

TEST_F(PlanTest, AMemberMayStandForAveragedWeights) {
  const json evaluation = {{"name", "e"}, {"members", list({{{"run", "t:ema"}}})}};
  json averaged = teacher_;
  averaged["config"] = {{"optim", {{"ema", 0.9}}}};
  const Plan plan = read({{"runs", list({averaged})}, {"evaluations", list({evaluation})}});
  EXPECT_EQ(plan.evaluations[0].members[0].run, "t");
  EXPECT_TRUE(plan.evaluations[0].members[0].averaged);
  EXPECT_EQ(plan_status({.plan = plan, .out = "absent"}).size(), 2U);
  const Plan without = read({{"runs", list({teacher_})}, {"evaluations", list({evaluation})}});
  EXPECT_ERROR(plan_status({.plan = without, .out = "absent"}), UsageError, "t:ema has no averaged weights");
}

const std::filesystem::path kShippedPlans = std::filesystem::path(EKD_GOLDEN_DIR) / "../../configs/cifar100";

TEST(ShippedPlans, AreValid) {
  for (const auto& entry : std::filesystem::directory_iterator(kShippedPlans)) {
    SCOPED_TRACE(entry.path());
    const Plan plan = read_plan(entry.path());
    EXPECT_FALSE(plan.title.empty());
    const PlanRequest request{.plan = plan, .out = "absent"};
    EXPECT_EQ(plan_status(request).size(), (plan.runs.size() + plan.evaluations.size()) * plan.seeds.size());
  }
}

TEST(ShippedPlans, HoldTheWholeTable) {
  for (const auto* name :
       {"paper.json", "paper-500.json", "crd-240.json", "short.json", "smoke.json", "cpu-small.json"}) {
    SCOPED_TRACE(name);
    const Plan plan = read_plan(kShippedPlans / name);
    EXPECT_GE(plan.runs.size(), 14U);
    EXPECT_EQ(plan.evaluations.size(), 3U);
  }
  const Plan paper = read_plan(kShippedPlans / "paper.json");
  EXPECT_EQ(paper.runs.size(), 17U);
  for (const auto& run : paper.runs) EXPECT_TRUE(run.paper->contains("oe100")) << run.name;
}

TEST(ShippedPlans, ComparePairsAsPublished) {
  const std::set<std::string> slow{"mobilenet_v2", "shufflenet_v1", "shufflenet_v2"};  // the published rate is .01
  const PlanRequest request{.plan = read_plan(kShippedPlans / "pairs.json"), .out = "absent"};
  std::set<std::string> trained, pairs;
  for (const auto& run : request.plan.runs) EXPECT_TRUE(run.paper->contains("accuracy")) << run.name;
  for (const auto& row : unroll_plan(request)) {
    SCOPED_TRACE(row.name);
    const std::string& model = row.config.model.name;
    EXPECT_EQ(row.config.optim.lr, slow.contains(model) ? 0.01 : 0.05);
    EXPECT_EQ(row.config.optim.batch_size, 64);
    if (row.run->command != Command::kDistill) {
      EXPECT_TRUE(row.name == "teacher-" + model || row.name == "student-" + model);
      trained.insert(row.name);
      continue;
    }
    ASSERT_EQ(row.run->teachers.size(), 1U);
    EXPECT_EQ("kd-" + row.run->teachers[0].substr(std::string("teacher-").size()) + "-" + model, row.name);
    pairs.insert(row.name);
  }
  EXPECT_EQ(trained.size(), 15U);
  EXPECT_EQ(pairs.size(), 13U);
}

TEST(ShippedPlans, TryEveryLoss) {
  std::set<std::string> rows;
  const Plan plan = read_plan(kShippedPlans / "losses.json");
  const PlanRequest request{.plan = plan, .out = "absent"};
  for (const auto& row : unroll_plan(request))
    if (row.run->command == Command::kDistill && row.name == row.config.distill.loss) rows.insert(row.name);
  for (const auto& name : distillation_loss_registry().names()) EXPECT_TRUE(rows.contains(name)) << name;
}

}  // namespace
}  // namespace ekd
