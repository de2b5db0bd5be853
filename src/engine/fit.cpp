#include "ekd/engine/fit.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "ekd/core/signals.h"

namespace ekd {
namespace {

using Clock = std::chrono::steady_clock;

// The learner that is furthest behind; null when all have finished.
const Learner* last_learner(const std::vector<Learner*>& learners) {
  const Learner* last = nullptr;
  for (const Learner* learner : learners)
    if (!learner->finished() && (last == nullptr || learner->position() < last->position())) last = learner;
  return last;
}

// The steps of one epoch from `first_step` on. Returns false where a signal asked to stop.
bool run_epoch(BatchStream& stream, const std::vector<Learner*>& learners, Position from, Progress& progress,
               const std::string& label) {
  const std::int64_t steps = stream.steps_per_epoch();
  stream.begin_epoch(from.epoch);
  for (std::int64_t step = from.step; step < steps; ++step) {
    const auto start = Clock::now();
    const Position here{from.epoch, step};
    const Batch batch = stream.batch(step);
    for (Learner* learner : learners)
      if (!learner->finished() && learner->position() == here) learner->train_step(batch);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    for (Learner* learner : learners)
      if (!learner->finished() && learner->position() == Position{from.epoch, step + 1}) learner->add_seconds(seconds);
    progress.step(label, from.epoch * steps + step + 1, batch.size());
    if (stop_request() != 0 && step + 1 < steps) return false;
  }
  return true;
}

}  // namespace

int fit(BatchStream& stream, const std::vector<Learner*>& learners, ProgressStyle style) {
  const Learner* behind = last_learner(learners);
  if (behind == nullptr) return 0;
  std::int64_t epochs = 0;
  for (const Learner* learner : learners) epochs = std::max(epochs, learner->setup().optim.epochs);
  const std::int64_t steps = stream.steps_per_epoch();
  Progress progress(style, epochs * steps, behind->position().epoch * steps + behind->position().step);

  for (; behind != nullptr && stop_request() == 0; behind = last_learner(learners)) {
    const Position from = behind->position();
    const bool whole = run_epoch(stream, learners, from, progress,
                                 "epoch " + std::to_string(from.epoch + 1) + "/" + std::to_string(epochs));
    progress.clear();
    for (Learner* learner : learners) {
      if (learner->finished() || learner->position().epoch != from.epoch) continue;
      if (learner->position().step == steps) learner->finish_epoch();
      if (!whole && learner->position().epoch == from.epoch) learner->save_checkpoint();
    }
  }
  return last_learner(learners) == nullptr ? 0 : stop_request();
}

}  // namespace ekd
