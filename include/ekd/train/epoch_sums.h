// Running sums of an epoch's loss terms. They stay on the device, with the first step at which a term was not finite:
// no step waits for the host.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ekd/core/types.h"

namespace ekd {

class EpochSums {
 public:
  explicit EpochSums(at::Device device = at::kCPU);

  // What the host knows of a step: its 0-based index in the epoch and its images. Comes before each step's add, also
  // before one that a CUDA graph replays.
  void begin_step(std::int64_t step, std::int64_t batch_size);

  // Adds a batch's terms, unweighted, and their weighted total "loss". The device's part: from the second call on it
  // works on the same tensors, whatever happens between two calls. Throws c10::Error where the terms or their weights
  // are not those of the first call: a replayed step would go on with the first.
  void add(const LossTerms& losses, const at::Tensor& total, std::int64_t batch_size);

  struct NonFinite {
    std::int64_t step = -1;  // the first such step, or -1
    std::string term;
  };
  // Waits for the device.
  NonFinite first_non_finite() const;

  struct Mean {
    std::string name;
    double value = 0;
  };
  // Means over the samples added, the total first. Waits for the device.
  std::vector<Mean> means() const;

  void clear();

  // What a checkpoint holds: the sums as a double tensor on the CPU, their names, and the number of samples. Nothing
  // where no step was added.
  at::Tensor values() const;
  std::vector<std::string> names() const { return samples_ > 0 ? names_ : std::vector<std::string>(); }
  std::int64_t samples() const { return samples_; }
  void restore(const at::Tensor& values, const std::vector<std::string>& names, std::int64_t samples);

 private:
  void check_weights(const LossTerms& losses);
  void set_names(std::vector<std::string> names);

  std::vector<std::string> names_;
  std::vector<double> weights_;  // of the terms, from the first step on
  at::Tensor step_;              // int64, 0-dim: the index of the step that is added next
  at::Tensor sums_;              // double [terms + 1]
  at::Tensor first_bad_;         // int64 [terms + 1], -1 where all was finite
  std::int64_t samples_ = 0;
};

}  // namespace ekd
