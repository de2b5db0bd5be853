// The training loop: one stream of batches, one or several learners.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ekd/runs/progress.h"
#include "ekd/train/batch_stream.h"
#include "ekd/train/learner.h"
#include "ekd/train/pace.h"

namespace ekd {

struct FitResult {
  int stopped = 0;  // the stop_request() that was obeyed: then every learner that has not failed has saved a checkpoint
  std::vector<std::optional<Failure>> failures;  // of each learner
};

// Told at once, by its index, of a learner that has failed. It takes part no more: it may be destroyed then.
using OnFailure = std::function<void(std::size_t index, const Failure& failure)>;

// Where other trainings go on at the same time in this process.
struct Companions {
  Pace* pace = nullptr;  // all of theirs; null: there are no others
  std::string label;     // before each line of progress
};

// Trains every learner to its last epoch. Goes on from the smallest position; learners that are ahead wait for it. Each
// batch is made once and seen by the teachers of those that take it. A learner that fails leaves the others alone; what
// the stream throws ends the training of all.
FitResult fit(BatchStream& stream, const std::vector<Learner*>& learners, ProgressStyle style,
              const OnFailure& on_failure = {}, const Companions& others = {});

}  // namespace ekd
