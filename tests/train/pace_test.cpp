#include "ekd/train/pace.h"

#include <atomic>
#include <thread>

#include "ekd/core/signals.h"

namespace ekd {
namespace {

using namespace std::chrono_literals;

// A training that makes steps of 2 ms on a device until it is told to end: `device` is one that does a single step at a
// time, or null for one with room for all.
class Training {
 public:
  Training(Pace& pace, std::mutex* device, std::int64_t most = -1)
      : thread_([this, &pace, device, most] {
          Pace::Lane lane(pace);
          for (; !ends_ && steps_ != most; ++steps_) {
            lane.step([this] { ++waits_; });
            std::unique_lock<std::mutex> lock;
            if (device != nullptr) lock = std::unique_lock(*device);
            std::this_thread::sleep_for(2ms);
          }
        }) {}
  ~Training() {
    ends_ = true;
    thread_.join();
  }

  std::int64_t steps() const { return steps_; }
  int waits() const { return waits_; }

 private:
  std::atomic<bool> ends_ = false;
  std::atomic<std::int64_t> steps_ = 0;
  std::atomic<int> waits_ = 0;
  std::thread thread_;
};

void wait_until_warm(const Pace& pace, int lanes) {
  while (pace.lanes() < lanes || !pace.warm()) std::this_thread::sleep_for(1ms);
}

TEST(Pace, LanesAreWarmAfterSomeSteps) {
  Pace pace;
  EXPECT_EQ(pace.lanes(), 0);
  const Training short_one(pace, nullptr, Pace::kWarmSteps - 1), other(pace, nullptr);
  while (pace.lanes() != 1 || other.steps() <= Pace::kWarmSteps + 1) std::this_thread::sleep_for(1ms);
  EXPECT_TRUE(pace.warm());
  EXPECT_LT(short_one.steps(), Pace::kWarmSteps);
}

TEST(Pace, OnADeviceWithRoomTwoDoTwiceTheWork) {
  Pace pace;
  const Training first(pace, nullptr), second(pace, nullptr);
  wait_until_warm(pace, 2);
  const auto gain = pace.gain(200ms);
  ASSERT_TRUE(gain);
  EXPECT_GT(*gain, 1.6);
  EXPECT_LT(*gain, 2.5);
  EXPECT_GT(first.waits(), 0);
  EXPECT_GT(second.waits(), 0);
}

TEST(Pace, OnABusyDeviceTwoDoTheWorkOfOne) {
  Pace pace;
  std::mutex device;
  const Training first(pace, &device), second(pace, &device);
  wait_until_warm(pace, 2);
  const auto gain = pace.gain(200ms);
  ASSERT_TRUE(gain);
  EXPECT_GT(*gain, 0.7);
  EXPECT_LT(*gain, 1.3);
}

TEST(Pace, OneAloneGainsNothingAndAllGoOnAfterwards) {
  Pace pace;
  const Training first(pace, nullptr);
  wait_until_warm(pace, 1);
  EXPECT_FALSE(pace.gain(10ms));
  const Training second(pace, nullptr);
  wait_until_warm(pace, 2);
  ASSERT_TRUE(pace.gain(50ms));
  const std::int64_t before[] = {first.steps(), second.steps()};
  while (first.steps() < before[0] + 5 || second.steps() < before[1] + 5) std::this_thread::sleep_for(1ms);
}

TEST(Pace, WhoIsHeldGoesOnWhenAnotherEnds) {
  Pace pace;
  auto first = std::make_unique<Training>(pace, nullptr);
  wait_until_warm(pace, 1);
  const Training second(pace, nullptr);
  wait_until_warm(pace, 2);
  pace.hold_last();
  while (second.waits() == 0) std::this_thread::sleep_for(1ms);
  const std::int64_t held_at = second.steps(), of_first = first->steps();
  while (first->steps() < of_first + 10) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(second.steps(), held_at);
  first.reset();
  while (second.steps() < held_at + 5) std::this_thread::sleep_for(1ms);
}

TEST(Pace, AMeasurementEndsWhereALaneGoesAwayOrTheProgramIsToStop) {
  Pace pace;
  auto first = std::make_unique<Training>(pace, nullptr);
  wait_until_warm(pace, 1);
  const Training second(pace, nullptr);
  wait_until_warm(pace, 2);
  std::thread end([&] {
    while (second.waits() == 0) std::this_thread::sleep_for(1ms);
    first.reset();  // which is measured alone
  });
  EXPECT_FALSE(pace.gain(1h));
  end.join();
  const Training third(pace, nullptr);
  wait_until_warm(pace, 2);
  set_stop_deadline(std::chrono::steady_clock::now() + 50ms);
  EXPECT_FALSE(pace.gain(1h));
  const std::int64_t before = third.steps();
  while (third.steps() < before + 5) std::this_thread::sleep_for(1ms);  // to where it saves itself
  set_stop_deadline(std::chrono::steady_clock::time_point::max());
}

}  // namespace
}  // namespace ekd
