#include "nn/shuffle_function.h"

#include <torch/csrc/autograd/custom_function.h>

#include "ekd/kernels/channel_shuffle.h"

namespace ekd {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct ShuffleFunction : torch::autograd::Function<ShuffleFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, std::int64_t groups) {
    context->saved_data["width"] = x.size(1) / groups;
    return shuffle_by_groups(x, groups);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const at::Tensor grad = grads[0].contiguous(at::MemoryFormat::ChannelsLast);
    return {shuffle_by_groups(grad, context->saved_data["width"].toInt()), at::Tensor()};
  }
};

}  // namespace

at::Tensor differentiable_shuffle(const at::Tensor& x, std::int64_t groups) {
  return ShuffleFunction::apply(x, groups);
}

}  // namespace ekd
