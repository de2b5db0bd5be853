// Everything a training needs to go on, bit for bit, in one safetensors file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ekd/core/types.h"

namespace ekd {

// Where a training stands: `step` steps of 0-based `epoch` are done.
struct Position {
  std::int64_t epoch = 0, step = 0;
  auto operator<=>(const Position&) const = default;
};

// What must be the same for a checkpoint to be the same run's.
struct RunIdentity {
  // By key, those that must not change, {"optim.lr": 0.05, …}, and where the teachers lay: their checksums count.
  nlohmann::json settings = nlohmann::json::object();
  nlohmann::json defaults = nlohmann::json::object();  // of the same keys, for checkpoints from before a key existed
  std::string dataset_sha256;
  nlohmann::json normalisation;  // of the images (data/record.h); null in checkpoints from before it was stored
  std::vector<std::string> teacher_sha256;
  std::vector<double> teacher_weights;  // of as many; all were 1 before there were any
  std::string compute;                  // device, CPU capability, threads, precision: a difference warns
};

struct BestEpoch {
  std::int64_t epoch = -1;           // -1: none yet
  double value = -1;                 // of the metric that chooses it
  std::vector<NamedTensor> weights;  // copies, by value
};

struct Checkpoint {
  Position position;
  RunIdentity identity;
  std::string began_on;  // the compute that a loaded checkpoint was written on
  BestEpoch best;
  std::vector<std::string> sum_names;
  at::Tensor sums;  // double [terms + 1]
  std::int64_t samples = 0;
  double epoch_seconds = 0, total_seconds = 0;
  std::vector<NamedTensor> model, objective, optimizer, average;  // the live tensors
};

// Appends the tensors, each as PREFIX and its name.
void append_named(std::vector<NamedTensor>& all, const std::string& prefix, const std::vector<NamedTensor>& tensors);

void save_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint);

// Checks the whole file against `checkpoint`'s identity and live tensors and against the training's `end` (epochs,
// steps per epoch), then fills in everything else and copies into the live tensors. Throws WeightsError (damaged or
// foreign) and UsageError (another configuration, data or teachers).
void load_checkpoint(const std::filesystem::path& path, Checkpoint& checkpoint, Position end);

}  // namespace ekd
