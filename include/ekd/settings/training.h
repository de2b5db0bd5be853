// How a training optimises, is watched and computes; the defaults are the paper's. These settings stand here and not in
// train, because the tree of all settings lies below that room.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ekd/core/field.h"

namespace ekd {

struct OptimConfig {
  std::string name = "sgd";
  std::int64_t epochs = 500;
  std::int64_t batch_size = 128;
  double lr = 0.05;
  std::string schedule = "step";
  std::vector<std::int64_t> milestones{150, 180, 210};
  double gamma = 0.1;     // factor at each milestone
  double momentum = 0.9;  // sgd
  double weight_decay = 5e-4;
  bool nesterov = false;  // sgd
  double beta1 = 0.9;     // adamw
  double beta2 = 0.999;   // adamw
  double eps = 1e-8;      // adamw
  double clip_norm = 0;   // largest norm of all gradients together; 0: any
  double label_smoothing = 0;
  double warmup_epochs = 0;      // linear from 0, whatever the schedule
  double onecycle_rise = 0.3;    // share of the training spent rising
  double onecycle_start = 0.04;  // first rate / lr
  double onecycle_final = 1e-4;  // last rate / lr
  double ema = 0;                // decay of the weights' average, per step; 0: there is none
};

struct EvalConfig {
  std::int64_t every = 1;  // epochs between evaluations; the last epoch always is evaluated
  std::int64_t batch_size = 256;
  std::string best = "accuracy";  // the metric that chooses the best epoch
};

struct RunConfig {
  std::int64_t seed = 0;
  std::string device = "auto";
  std::string precision = "auto";
  std::int64_t threads = 0;  // 0: one per core
  bool fused = true;         // ekd's own kernels for the networks' layers
  bool graph = true;         // CUDA: steps as graphs
  bool deterministic = false;
};

std::vector<Field> optim_fields(OptimConfig& optim);
std::vector<Field> eval_fields(EvalConfig& eval);
std::vector<Field> run_fields(RunConfig& run);

}  // namespace ekd
