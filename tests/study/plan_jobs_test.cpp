#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ekd/study/plan_runner.h"
#include "tests/support/log_text.h"
#include "tests/support/temporary_folder.h"

namespace ekd {
namespace {

using nlohmann::json;

// Four rows that make some hundred small steps each.
json small_plan() {
  json runs = json::array();
  for (const char* name : {"a", "b", "c", "d"}) runs.push_back({{"name", name}, {"command", "train-teacher"}});
  const json data = {{"dataset", "synthetic"}, {"classes", 4}, {"train_limit", 320}, {"test_limit", 8}};
  const json all = {{"data", data},
                    {"model", {{"name", "resnet8"}}},
                    {"optim", {{"epochs", 8}, {"batch_size", 8}, {"lr", 0.001}}},
                    {"run", {{"device", "cpu"}, {"threads", 1}}}};
  return {{"config", {{"all", all}}}, {"runs", runs}};
}

TEST(PlanJobs, HowManyGainIsMeasuredWhileTheyAreMade) {
  const test::TemporaryFolder folder;
  test::write_text(folder / "plan.json", small_plan().dump());
  PlanRequest request{.plan = read_plan(folder / "plan.json"), .out = folder / "out"};
  request.jobs = kMeasured;
  request.measured_for = std::chrono::milliseconds(60);
  const test::LogText log(spdlog::level::info);
  const PlanOutcome outcome = run_plan(request);
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.made, 4);
  for (const auto& row : plan_status(request)) EXPECT_EQ(row.state, RowState::kDone) << row.name;
  EXPECT_THAT(log.str(), testing::HasSubstr("2 trainings at a time do "));
}

}  // namespace
}  // namespace ekd
