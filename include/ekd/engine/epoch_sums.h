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
  // Adds a batch's terms, unweighted, and their weighted total "loss".
  void add(const LossTerms& losses, const at::Tensor& total, std::int64_t batch_size, std::int64_t step);

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

  // For checkpoints: the sums as a double tensor on the CPU, their names, and the number of samples.
  at::Tensor values() const;
  const std::vector<std::string>& names() const { return names_; }
  std::int64_t samples() const { return samples_; }
  void restore(at::Tensor values, std::vector<std::string> names, std::int64_t samples, at::Device device);

 private:
  std::vector<std::string> names_;
  at::Tensor sums_;       // double [terms + 1]
  at::Tensor first_bad_;  // int64 [terms + 1], -1 where all was finite
  std::int64_t samples_ = 0;
};

}  // namespace ekd
