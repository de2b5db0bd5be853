// The training loop: one stream of batches, one or several learners.
#pragma once

#include <vector>

#include "ekd/engine/batch_stream.h"
#include "ekd/engine/learner.h"
#include "ekd/run/progress.h"

namespace ekd {

// Trains every learner to its last epoch. Goes on from the smallest position; learners that are ahead wait for it.
// Returns 0, or the stop_request() that was obeyed: then every learner has saved its checkpoint.
int fit(BatchStream& stream, const std::vector<Learner*>& learners, ProgressStyle style);

}  // namespace ekd
