#include "ekd/train/pace.h"

#include <algorithm>

#include "ekd/core/signals.h"

namespace ekd {
namespace {

// How often those that wait look whether the program is to stop.
constexpr std::chrono::milliseconds kLook{100};

}  // namespace

Pace::Lane::Lane(Pace& pace) : pace_(pace) {
  const std::lock_guard lock(pace_.mutex_);
  pace_.lanes_.push_back(this);
}

Pace::Lane::~Lane() {
  {
    const std::lock_guard lock(pace_.mutex_);
    std::erase(pace_.lanes_, this);
    ++pace_.departures_;
    pace_.release_all();
  }
  pace_.changed_.notify_all();
}

void Pace::Lane::step(const std::function<void()>& wait) {
  std::unique_lock lock(pace_.mutex_);
  warm_ = warm_ || steps_ >= kWarmSteps;
  if (held_) {
    lock.unlock();
    wait();
    lock.lock();
    while (held_ && stop_request() == 0) {
      if (!stands_) {
        stands_ = true;
        stood_ = Clock::now();
        pace_.changed_.notify_all();
      }
      pace_.changed_.wait_for(lock, kLook);
    }
    stands_ = false;
  }
  ++steps_;
}

int Pace::lanes() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(lanes_.size());
}

bool Pace::warm() const {
  const std::lock_guard lock(mutex_);
  return std::ranges::all_of(lanes_, &Lane::warm_);
}

// Whether all stand. Not where one goes away before it does.
bool Pace::stand_all(std::unique_lock<std::mutex>& lock) {
  const std::int64_t before = departures_;
  for (Lane* lane : lanes_) lane->held_ = true;
  while (!std::ranges::all_of(lanes_, &Lane::stands_)) {
    if (departures_ != before || stop_request() != 0) return false;
    changed_.wait_for(lock, kLook);
  }
  return departures_ == before;
}

std::optional<double> Pace::work(std::unique_lock<std::mutex>& lock, const Lanes& measured, Clock::duration window) {
  if (!stand_all(lock)) return std::nullopt;
  const std::int64_t before = departures_;
  const auto start = Clock::now();
  for (Lane* lane : measured) {
    lane->steps_ = 0;
    lane->held_ = false;
    lane->stands_ = false;  // it says so itself again
  }
  changed_.notify_all();
  while (departures_ == before && stop_request() == 0 && Clock::now() - start < window)
    changed_.wait_for(lock, std::min<Clock::duration>(kLook, window));
  if (departures_ != before || !stand_all(lock)) return std::nullopt;
  double sum = 0;
  for (Lane* lane : measured) {
    if (lane->steps_ == 0) return std::nullopt;  // one step takes longer than the window
    const double rate = static_cast<double>(lane->steps_) / std::chrono::duration<double>(lane->stood_ - start).count();
    if (measured.size() == 1 && lane->alone_ == 0) lane->alone_ = rate;
    sum += rate / lane->alone_;
  }
  return sum;
}

std::optional<double> Pace::gain(Clock::duration window) {
  std::unique_lock lock(mutex_);
  const Lanes all = lanes_;
  if (all.size() < 2) return std::nullopt;
  const Lanes before(all.begin(), all.end() - 1);
  std::optional<double> done, now;
  const auto measure = [&] {
    for (Lane* lane : all)
      if (lane->alone_ == 0 && !work(lock, {lane}, window)) return;
    done = work(lock, before, window);
    if (done) now = work(lock, all, window);
  };
  measure();
  release_all();
  lock.unlock();
  changed_.notify_all();
  if (!now) return std::nullopt;
  return *now / *done;
}

void Pace::hold_last() {
  const std::lock_guard lock(mutex_);
  if (lanes_.size() > 1) lanes_.back()->held_ = true;
}

void Pace::release_all() {
  for (Lane* lane : lanes_) lane->held_ = false;
}

}  // namespace ekd
