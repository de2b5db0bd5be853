// The training loop: one stream of batches, one or several learners.
#pragma once

#include <functional>
#include <vector>

#include "ekd/engine/batch_stream.h"
#include "ekd/engine/learner.h"
#include "ekd/run/progress.h"

namespace ekd {

// Does a piece of a learner's work. False: it failed, and the learner, which may be gone by then, takes part no more.
using LearnerGuard = std::function<bool(Learner& learner, const std::function<void()>& work)>;

// Lets errors through, so that one learner's error ends the training of all.
bool unguarded(Learner& learner, const std::function<void()>& work);

// Trains every learner to its last epoch. Goes on from the smallest position; learners that are ahead wait for it. Each
// batch is made once and seen by the teachers of those that take it. What the stream throws ends the training of all.
// Returns 0, or the stop_request() that was obeyed: then every learner has saved its checkpoint.
int fit(BatchStream& stream, std::vector<Learner*> learners, ProgressStyle style,
        const LearnerGuard& guard = unguarded);

}  // namespace ekd
