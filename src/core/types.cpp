#include "ekd/core/types.h"

#include <ATen/TensorOperators.h>

namespace ekd {

at::Tensor LossTerms::total() const {
  TORCH_CHECK(!terms.empty(), "an objective has at least one term");
  at::Tensor total = terms.front().value * terms.front().weight;
  for (std::size_t i = 1; i < terms.size(); ++i) total = total + terms[i].value * terms[i].weight;
  return total;
}

}  // namespace ekd
