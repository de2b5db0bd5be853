// Trainings of one process side by side on a device, each on a thread of its own: whether they gain by it. A device
// that one training leaves half idle does more work for two; one that it fills does not. Which of the two holds depends
// on networks, batches and device, so it is measured: how fast each goes alone, while the others stand still, and how
// fast they go together.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace ekd {

class Pace {
 public:
  using Clock = std::chrono::steady_clock;

  // A training's, for as long as it makes steps. Its thread alone calls these.
  class Lane {
   public:
    explicit Lane(Pace& pace);
    ~Lane();
    Lane(const Lane&) = delete;
    Lane& operator=(const Lane&) = delete;

    // Before each step. Where others are measured it stands still until they have been, or until the program is asked
    // to stop; `wait` then makes the device finish what this training has given it.
    void step(const std::function<void()>& wait);

   private:
    friend class Pace;
    Pace& pace_;
    std::int64_t steps_ = 0;  // begun since it last was let go, and before that in all
    bool warm_ = false, held_ = false, stands_ = false;
    double alone_ = 0;  // steps/s alone on the device; 0: not known yet
    Clock::time_point stood_;
  };

  // A lane is warm from this step on: what is done once, such as recording a graph, lies behind it.
  static constexpr std::int64_t kWarmSteps = 20;

  // How many trainings make steps, and whether all of them are warm.
  int lanes() const;
  bool warm() const;

  // How much more work a second is done since the lane that came last is there: 1 as much, 1.3 thirty per cent more.
  // The work of a step counts as the time that it takes alone. Measures for `window` several times over. Nothing where
  // a lane went away meanwhile, the program was asked to stop, or there are fewer than two.
  std::optional<double> gain(Clock::duration window);

  // Makes the lane that came last stand still until another one goes away.
  void hold_last();

 private:
  using Lanes = std::vector<Lane*>;

  bool stand_all(std::unique_lock<std::mutex>& lock);
  // The work per second of these alone, while all others stand still.
  std::optional<double> work(std::unique_lock<std::mutex>& lock, const Lanes& measured, Clock::duration window);
  void release_all();

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Lanes lanes_;  // in the order in which they came
  std::int64_t departures_ = 0;
};

}  // namespace ekd
