// result.json: the final numbers of a run, in fp32 whatever precision it trained in.
#pragma once

#include <nlohmann/json.hpp>

#include "ekd/core/types.h"
#include "ekd/runs/run_dir.h"
#include "ekd/settings/config.h"
#include "ekd/train/learner.h"

namespace ekd {

// {"command", "model", "dataset", "classes", "parameters", "epochs", "seed", "precision", "train_images", "seconds",
//  "last": {"epoch", metrics…}, "best": {"epoch", "selected_on": "val" | "test", "selected_by": "accuracy", metrics…},
//  "ema": {"epoch", metrics…}}
// with the test metrics of the last weights and, apart, of the weights that the named split selected: on "test" that
// flatters the number; and of the averaged weights where there are any. `data` lies on the learner's device. Also saves
// the last weights' predictions of the test split and, where there is one, of the validation split in `dir`: ensembles
// and intervals need no network afterwards.
nlohmann::ordered_json make_result(Command command, const Config& config, const Dataset& data, Learner& learner,
                                   const RunDir& dir);

}  // namespace ekd
