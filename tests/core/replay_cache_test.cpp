#include "ekd/core/replay_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/support/log_text.h"

namespace ekd {
namespace {

using ::testing::ElementsAre;

// A device of one counter, a host of one flag: recording runs the host's part of the work and not the device's.
class ReplayCacheTest : public ::testing::Test {
 protected:
  struct Replay final : Recording {
    explicit Replay(ReplayCacheTest& of) : test(of) {}
    void replay() override { test.done_.emplace_back("replay"), ++test.steps_; }
    ReplayCacheTest& test;
  };

  Recorder recorder() {
    return [this](const std::function<void()>& work) -> std::unique_ptr<Recording> {
      recording_ = true;
      work();
      recording_ = false;
      done_.emplace_back("record");
      if (refuses_) throw std::runtime_error("operation not permitted\nwith a trace");
      return std::make_unique<Replay>(*this);
    };
  }

  void work() {
    if (recording_) return;
    done_.emplace_back("plain");
    ++steps_;
  }

  // What `runs` runs of a key did.
  std::vector<std::string> run(ReplayCache& cache, const ReplayCache::Key& key, int runs) {
    done_.clear();
    for (int i = 0; i < runs; ++i) cache.run(key, [this] { work(); });
    return done_;
  }

  std::vector<std::string> done_;
  int steps_ = 0;
  bool recording_ = false, refuses_ = false;
};

TEST_F(ReplayCacheTest, ThreePlainRunsThenReplaysAndEachCountsOnce) {
  ReplayCache cache(recorder(), "run");
  EXPECT_THAT(run(cache, {8, 1}, 6), ElementsAre("plain", "plain", "plain", "record", "replay", "replay", "replay"));
  EXPECT_EQ(steps_, 6);
}

TEST_F(ReplayCacheTest, EachKeyHasItsOwn) {
  ReplayCache cache(recorder(), "run");
  run(cache, {8, 1}, 5);
  EXPECT_THAT(run(cache, {6, 1}, 2), ElementsAre("plain", "plain"));
  EXPECT_THAT(run(cache, {8, 1}, 1), ElementsAre("replay"));
  EXPECT_THAT(run(cache, {6, 1}, 2), ElementsAre("plain", "record", "replay"));
  EXPECT_THAT(run(cache, {8, 3}, 1), ElementsAre("plain"));
}

TEST_F(ReplayCacheTest, WithoutARecorderAllIsPlain) {
  ReplayCache cache({}, "run");
  EXPECT_THAT(run(cache, {8}, 5), ElementsAre("plain", "plain", "plain", "plain", "plain"));
}

TEST_F(ReplayCacheTest, WhatCannotBeRecordedGoesOnPlainlyWithOneWarning) {
  const test::LogText log(spdlog::level::warn);
  ReplayCache cache(recorder(), "runs/a");
  run(cache, {8}, 4);
  refuses_ = true;
  EXPECT_THAT(run(cache, {6}, 5), ElementsAre("plain", "plain", "plain", "record", "plain", "plain"));
  EXPECT_THAT(run(cache, {4}, 4), ElementsAre("plain", "plain", "plain", "plain"));
  EXPECT_THAT(run(cache, {8}, 1), ElementsAre("replay"));  // what was recorded before stays good
  EXPECT_EQ(steps_, 4 + 5 + 4 + 1);
  EXPECT_EQ(log.str(),
            "warning: runs/a: goes on without CUDA graphs, with the same results: operation not permitted\n");
}

}  // namespace
}  // namespace ekd
