#include <unistd.h>

#include "ekd/core/error.h"
#include "ekd/runs/progress.h"
#include "ekd/runs/run_dir.h"
#include "ekd/runs/run_record.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace ekd {
namespace {

TEST(RunDir, SecondHolderIsRefusedByName) {
  const test::TemporaryFolder folder;
  {
    const RunDir first(folder / "run");
    EXPECT_ERROR(RunDir(folder / "run"), LockedError, "held by pid " + std::to_string(getpid()) + " on ");
  }
  EXPECT_NO_THROW(RunDir(folder / "run"));
}

TEST(RunDir, StateFollowsTheFiles) {
  const test::TemporaryFolder folder;
  EXPECT_EQ(run_state(folder / "absent"), RunState::kAbsent);
  EXPECT_EQ(run_state(folder.path()), RunState::kAbsent);
  test::write_text(folder / "config.json", "{}");
  EXPECT_EQ(run_state(folder.path()), RunState::kUnfinished);
  test::write_text(folder / "result.json", "{}");
  EXPECT_EQ(run_state(folder.path()), RunState::kFinished);
}

TEST(MetricLog, ResumedRunCutsLaterAndBrokenLines) {
  const test::TemporaryFolder folder;
  const auto path = folder / "metrics.jsonl";
  test::write_text(path, "{\"epoch\":0}\n{\"epoch\":1}\n{\"epoch\":2}\n{\"epo");
  MetricLog log(path, /*first_epoch=*/2);
  log.append({{"epoch", 2}, {"x", 0.5}});
  EXPECT_EQ(test::read_text(path), "{\"epoch\":0}\n{\"epoch\":1}\n{\"epoch\":2,\"x\":0.5}\n");
}

TEST(MetricLog, LinesThatSomebodyEditedGo) {
  const test::TemporaryFolder folder;
  const auto path = folder / "metrics.jsonl";
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  test::write_text(
      path, "{\"epoch\":0,\"x\":" + deep + "}\n{\"epoch\":9223372036854775807}\n{\"epoch\":-1}\n{\"epoch\":1}\n");
  const MetricLog log(path, /*first_epoch=*/2);
  EXPECT_EQ(test::read_text(path), "{\"epoch\":1}\n");
}

TEST(RunRecord, GoesOnFromOneThatSomebodyEdited) {
  const test::TemporaryFolder folder;
  const auto path = folder / "run.json";
  test::write_text(path, R"({"started": 5, "resumed": "twice"})");
  const RunRecord record(path, {});
  EXPECT_EQ(read_run_record(path)["resumed"], 1);
  EXPECT_TRUE(read_run_record(path)["started"].is_string());
}

TEST(RunRecord, CountsResumesAndKeepsTheFirstStart) {
  const test::TemporaryFolder folder;
  const auto path = folder / "run.json";
  { RunRecord(path, {.command = "distill"}).end("stopped", "signal 15"); }
  const auto first = nlohmann::json::parse(test::read_text(path));
  EXPECT_EQ(first["status"], "stopped");
  EXPECT_EQ(first["reason"], "signal 15");
  EXPECT_EQ(first["resumed"], 0);
  { RunRecord(path, {.command = "distill"}).end("finished"); }
  const auto second = nlohmann::json::parse(test::read_text(path));
  EXPECT_EQ(second["status"], "finished");
  EXPECT_EQ(second["resumed"], 1);
  EXPECT_EQ(second["started"], first["started"]);
  EXPECT_FALSE(second.contains("reason"));
}

TEST(Progress, DurationsReadAsClocks) {
  EXPECT_EQ(duration_text(0), "0:00");
  EXPECT_EQ(duration_text(83.4), "1:23");
  EXPECT_EQ(duration_text(3723), "1:02:03");
}

}  // namespace
}  // namespace ekd
