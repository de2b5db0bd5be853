// Settings of a training run: plain structs with the paper's defaults. core/config_fields.h lists every key with its
// range.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace ekd {

struct DataConfig {
  std::string dataset = "cifar100";
  std::string dir = "data/cifar-100-binary";
  std::int64_t train_limit = 0;  // first N records; 0: all
  std::int64_t test_limit = 0;   // first N records; 0: all
  std::int64_t classes = 0;      // only the first N classes; 0: all
  std::int64_t val_size = 0;     // last N training records held out
};

struct ModelConfig {
  std::string name = "wrn_40_2";
  std::string init;  // safetensors weights to start from
};

struct AugmentConfig {
  std::string name = "none";
  std::int64_t crop_padding = 4;      // pixels of zeros on each side
  double flip = 0.5;                  // probability of a horizontal flip
  double rotation = 15;               // degrees; uniform in ±rotation
  double mixup_alpha = 0.3;           // Beta(α, α)
  double cutmix_alpha = 1;            // Beta(α, α)
  std::string cutmix_mode = "image";  // a box per image (the paper) or per batch (the official code)
  std::int64_t cutout_size = 16;      // side of the mask, pixels
  std::int64_t augmix_width = 3;      // chains
  std::int64_t augmix_depth = 3;      // most operations in a chain
  double augmix_severity = 3;         // operation strength, in [.1, 10]
  double augmix_alpha = 1;            // Dirichlet(α, …) and Beta(α, α)
  double augmix_js_weight = 12;       // weight of the Jensen-Shannon term
};

struct OptimConfig {
  std::int64_t epochs = 500;
  std::int64_t batch_size = 128;
  double lr = 0.05;
  std::string schedule = "step";
  std::vector<std::int64_t> milestones{150, 180, 210};
  double gamma = 0.1;  // factor at each milestone
  double momentum = 0.9;
  double weight_decay = 5e-4;
  bool nesterov = false;
  double warmup_epochs = 0;      // linear from 0, whatever the schedule
  double onecycle_rise = 0.3;    // share of the training spent rising
  double onecycle_start = 0.04;  // first rate / lr
  double onecycle_final = 1e-4;  // last rate / lr
};

struct DistillConfig {
  std::vector<std::string> teachers;  // [NAME=]RUN_OR_WEIGHTS
  std::string kd = "add-loss";
  double temperature = 50;
  double kd_weight = 0.8;
  double ce_weight = 0.2;
  std::string loss = "kd";
  std::map<std::string, double> loss_settings;  // of the losses, by the key's part after "distill."
};

struct EvalConfig {
  std::int64_t every = 1;  // epochs between evaluations; the last epoch always is evaluated
  std::int64_t batch_size = 256;
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

enum class Command { kTrainTeacher, kTrainStudent, kDistill };

struct Config {
  DataConfig data;
  ModelConfig model;
  AugmentConfig augment;
  OptimConfig optim;
  DistillConfig distill;
  EvalConfig eval;
  RunConfig run;
};

// The paper's recipe for a command (§1 of the recipe: batch and rate differ between teachers and students).
Config default_config(Command command);

// "train-teacher", "train-student", "distill"
std::string command_name(Command command);

}  // namespace ekd
