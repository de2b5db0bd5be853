#include "ekd/settings/training.h"

namespace ekd {

std::vector<Field> optim_fields(OptimConfig& optim) {
  return {
      {"optim.name", &optim.name, one_of({"sgd", "adamw"}), "--optimizer",
       "stochastic gradient descent with momentum, or AdamW"},
      {"optim.epochs", &optim.epochs, between(1, kMaxCount), "--epochs", "passes over the training set",
       OnResume::kMayGrow},
      {"optim.batch_size", &optim.batch_size, between(1, kMaxCount), "--batch-size", "images per step"},
      {"optim.lr", &optim.lr, above(0), "--lr", "learning rate (the peak of a one-cycle schedule)"},
      {"optim.schedule", &optim.schedule, one_of({"step", "cosine", "onecycle", "constant"}), "--schedule",
       "how the rate changes"},
      {"optim.milestones", &optim.milestones, between(0, kMaxCount), "--milestones",
       "step: epochs from which the rate is multiplied by gamma"},
      {"optim.gamma", &optim.gamma, above_up_to(0, 1), "", "step: factor at each milestone"},
      {"optim.momentum",
       &optim.momentum,
       {.min = 0, .max = 0.9999, .names = {}},
       "--momentum",
       "sgd: of stochastic gradient descent"},
      {"optim.weight_decay", &optim.weight_decay, at_least(0), "--weight-decay",
       "on every parameter; adamw: decoupled from the gradient"},
      {"optim.nesterov", &optim.nesterov, {}, "--nesterov", "sgd: Nesterov's momentum"},
      {"optim.beta1", &optim.beta1, between(0, 0.999999), "", "adamw: decay per step of the gradients' average"},
      {"optim.beta2", &optim.beta2, between(0, 0.999999), "", "adamw: decay per step of their squares' average"},
      {"optim.eps", &optim.eps, between(1e-16, 1), "", "adamw: added to the root of the squares' average"},
      {"optim.clip_norm", &optim.clip_norm, at_least(0), "--clip-norm",
       "the largest norm of all gradients together, to which larger ones are scaled down; 0: any"},
      {"optim.label_smoothing", &optim.label_smoothing, between(0, 0.999999), "--label-smoothing",
       "share of the cross-entropy's targets that all classes have in equal parts"},
      {"optim.warmup_epochs", &optim.warmup_epochs, at_least(0), "--warmup-epochs",
       "the rate rises linearly from 0 over these"},
      {"optim.onecycle_rise", &optim.onecycle_rise, between(0, 1), "",
       "onecycle: share of the training in which the rate rises"},
      {"optim.onecycle_start", &optim.onecycle_start, between(0, 1), "", "onecycle: first rate as a share of lr"},
      {"optim.onecycle_final", &optim.onecycle_final, between(0, 1), "", "onecycle: last rate as a share of lr"},
      {"optim.ema",
       &optim.ema,
       {.min = 0, .max = 0.999999, .names = {}},
       "--ema",
       "decay per step of an exponential moving average of the weights; 0: none"},
  };
}

std::vector<Field> eval_fields(EvalConfig& eval) {
  return {
      {"eval.every", &eval.every, between(1, kMaxCount), "--eval-every",
       "epochs between evaluations; the last epoch always is evaluated"},
      {"eval.batch_size", &eval.batch_size, between(1, kMaxCount), "", "images per evaluation step", OnResume::kFree},
      {"eval.best", &eval.best, one_of({"accuracy", "nll", "brier", "ece15", "adaptive_ece15", "classwise_ece15"}),
       "--best", "the metric that chooses the best epoch"},
  };
}

std::vector<Field> run_fields(RunConfig& run) {
  return {
      {"run.seed", &run.seed, between(0, 4294967295.0), "--seed", "of every random draw"},
      {"run.device", &run.device, {}, "--device", "auto, cpu, cuda or cuda:N", OnResume::kWarn},
      {"run.precision", &run.precision, one_of({"auto", "fp32", "bf16"}), "--precision",
       "auto: the faster one on this hardware", OnResume::kWarn},
      {"run.threads", &run.threads, between(0, 1024), "--threads",
       "CPU threads, at most one per core; 0: OMP_NUM_THREADS, else one per core", OnResume::kWarn},
      {"run.fused",
       &run.fused,
       {},
       "",
       "own kernels for the networks' layers; false: LibTorch's operations, as a reference",
       OnResume::kWarn},
      {"run.graph",
       &run.graph,
       {},
       "--no-graph",
       "on CUDA, record a step once as a graph and replay it; changes no result",
       OnResume::kFree},
      {"run.deterministic",
       &run.deterministic,
       {},
       "--deterministic",
       "deterministic algorithms on CUDA too",
       OnResume::kWarn},
  };
}

}  // namespace ekd
