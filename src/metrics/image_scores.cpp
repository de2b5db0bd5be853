#include "ekd/metrics/image_scores.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>

namespace ekd {
namespace {

std::vector<double> numbers(const at::Tensor& values) {
  const at::Tensor row = values.to(at::kDouble).contiguous();
  return {row.const_data_ptr<double>(), row.const_data_ptr<double>() + row.numel()};
}

}  // namespace

std::map<std::string, std::vector<double>> image_scores(const at::Tensor& log_probs, const at::Tensor& labels) {
  const at::Tensor truth = labels.unsqueeze(1), of_label = log_probs.gather(1, truth), probs = log_probs.exp();
  // Of equal probabilities the lower class counts as the more likely one, as argmax has it.
  const at::Tensor lower_class = at::arange(log_probs.size(1)).unsqueeze(0) < truth;
  const at::Tensor rank = ((log_probs > of_label) | ((log_probs == of_label) & lower_class)).sum(1);
  return {{"accuracy", numbers(rank == 0)},
          {"top5", numbers(rank < 5)},
          {"nll", numbers(-of_label.squeeze(1))},
          {"brier", numbers((probs * probs).sum(1) - 2 * of_label.exp().squeeze(1) + 1)},
          {"mean_confidence", numbers(probs.amax({1}))}};
}

}  // namespace ekd
