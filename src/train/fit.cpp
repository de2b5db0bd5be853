#include "ekd/train/fit.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <string>

#include "ekd/core/signals.h"

namespace ekd {
namespace {

using Clock = std::chrono::steady_clock;

auto standing_at(Position here) {
  return [here](const Learner* learner) {
    return learner != nullptr && !learner->finished() && learner->position() == here;
  };
}

TeacherQuestions questions_of(const std::vector<Learner*>& learners) {
  TeacherQuestions all;
  for (const Learner* learner : learners)
    for (const auto& [teacher, features] : learner->setup().objective.questions())
      all[teacher].insert(features.begin(), features.end());
  return all;
}

// The learners, of which those that fail are forgotten.
class Learners {
 public:
  Learners(const std::vector<Learner*>& all, const OnFailure& on_failure)
      : all_(all), failures_(all.size()), on_failure_(on_failure) {}

  // Null when all that have not failed have finished.
  const Learner* furthest_behind() const {
    const Learner* behind = nullptr;
    for (const Learner* learner : all_)
      if (learner != nullptr && !learner->finished() && (behind == nullptr || learner->position() < behind->position()))
        behind = learner;
    return behind;
  }

  std::vector<Learner*> at(Position here) const {
    std::vector<Learner*> found;
    std::ranges::copy_if(all_, std::back_inserter(found), standing_at(here));
    return found;
  }

  // Work of each one that `which` picks.
  template <class Which, class Work>
  void each(Which which, Work work) {
    for (std::size_t i = 0; i < all_.size(); ++i) {
      if (!which(all_[i])) continue;
      failures_[i] = failure_in([&] { work(*all_[i]); }, all_[i]->setup().work);
      if (!failures_[i]) continue;
      all_[i] = nullptr;
      if (on_failure_) on_failure_(i, *failures_[i]);
    }
  }

  std::int64_t epochs() const {
    std::int64_t epochs = 0;
    for (const Learner* learner : all_) epochs = std::max(epochs, learner->setup().optim.epochs);
    return epochs;
  }

  const std::vector<std::optional<Failure>>& failures() const { return failures_; }

 private:
  std::vector<Learner*> all_;  // null where it has failed
  std::vector<std::optional<Failure>> failures_;
  const OnFailure& on_failure_;
};

// A device that works while the host goes on still is at the steps it was given; that time is theirs.
void wait_for_steps(Learners& learners, Position here) {
  const auto start = Clock::now();
  std::vector<Learner*> waited;
  learners.each(standing_at(here), [&](Learner& learner) {
    learner.wait();
    waited.push_back(&learner);
  });
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  for (Learner* learner : waited) learner->add_seconds(seconds);
}

// The steps of one epoch from `from` on. Returns false where a signal asked to stop.
bool run_epoch(BatchStream& stream, Learners& learners, Position from, Progress& progress, const std::string& label,
               Pace::Lane* lane) {
  const std::int64_t steps = stream.steps_per_epoch();
  stream.begin_epoch(from.epoch);
  std::int64_t step = from.step;
  for (bool stops = false; step < steps && !stops; ++step) {
    const Position here{from.epoch, step};
    if (lane != nullptr) lane->step([&] { wait_for_steps(learners, here); });
    const auto start = Clock::now();
    const auto due = learners.at(here);
    if (due.empty()) continue;  // those that stood here have failed, the others are further on
    const Batch batch = stream.batch(step, questions_of(due));
    std::vector<Learner*> trained;
    learners.each(standing_at(here), [&](Learner& learner) {
      learner.train_step(batch);
      trained.push_back(&learner);
    });
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    for (Learner* learner : trained) learner->add_seconds(seconds);
    progress.step(fmt::format("{}, step {}/{}", label, step + 1, steps), from.epoch * steps + step + 1, batch.size());
    stops = stop_request() != 0;
  }
  wait_for_steps(learners, {from.epoch, step});
  return step == steps;
}

}  // namespace

FitResult fit(BatchStream& stream, const std::vector<Learner*>& all, ProgressStyle style, const OnFailure& on_failure,
              const Companions& others) {
  Learners learners(all, on_failure);
  const Learner* behind = learners.furthest_behind();
  if (behind == nullptr) return {0, learners.failures()};
  const std::int64_t epochs = learners.epochs(), steps = stream.steps_per_epoch();
  Progress progress(style, epochs * steps, behind->position().epoch * steps + behind->position().step);
  std::optional<Pace::Lane> lane;
  if (others.pace != nullptr) lane.emplace(*others.pace);

  for (; behind != nullptr && stop_request() == 0; behind = learners.furthest_behind()) {
    const Position from = behind->position();
    const bool whole =
        run_epoch(stream, learners, from, progress,
                  others.label + "epoch " + std::to_string(from.epoch + 1) + "/" + std::to_string(epochs),
                  lane ? &*lane : nullptr);
    progress.clear();
    learners.each(standing_at({from.epoch, steps}), [](Learner& learner) { learner.finish_epoch(); });
    if (whole) continue;
    learners.each(
        [&](const Learner* learner) {
          return learner != nullptr && !learner->finished() && learner->position().epoch == from.epoch;
        },
        [](Learner& learner) { learner.save_checkpoint(); });
  }
  learners.each([](const Learner* learner) { return learner != nullptr; },
                [](Learner& learner) { learner.wait_for_saving(); });
  return {learners.furthest_behind() == nullptr ? 0 : stop_request(), learners.failures()};
}

}  // namespace ekd
