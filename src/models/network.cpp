#include "models/network.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/zeros.h>

#include <utility>

#include "ekd/core/error.h"
#include "ekd/nn/fused_pass.h"

namespace ekd {
namespace {

// set_data keeps the tensor that the layers, the optimiser and autograd know: same leaf, new storage.
void move_tensor(at::Tensor tensor, at::Device device) {
  at::Tensor moved = tensor.detach().to(device);
  if (moved.dim() == 4) moved = moved.contiguous(at::MemoryFormat::ChannelsLast);
  tensor.set_data(moved);
}

// Moves the parameters into one buffer on `device`, each at a whole number of 256 bytes.
at::Tensor move_together(const std::vector<NamedTensor>& parameters, at::Device device) {
  constexpr std::int64_t kApart = 64;
  std::int64_t count = 0;
  for (const auto& [name, tensor] : parameters) count += (tensor.numel() + kApart - 1) / kApart * kApart;
  at::Tensor flat = at::zeros({count}, at::TensorOptions().dtype(at::kFloat).device(device));
  std::int64_t offset = 0;
  for (const auto& [name, tensor] : parameters) {
    at::Tensor parameter = tensor;
    const at::Tensor place = flat.as_strided(parameter.sizes(), parameter.strides(), offset);
    place.copy_(parameter.detach());
    parameter.set_data(place);
    offset += (parameter.numel() + kApart - 1) / kApart * kApart;
  }
  return flat;
}

}  // namespace

Network::Network(ModelSpec spec, std::optional<std::uint64_t> seed)
    : Classifier(std::move(spec)),
      root_(state_, seed ? at::make_generator<at::CPUGeneratorImpl>(*seed) : at::Generator()) {
  if (this->spec().classes < 1 || this->spec().channels < 1) {
    throw UsageError("model '" + this->spec().name + "' needs at least one class and one image channel");
  }
}

Outputs Network::forward(const at::Tensor& images) {
  TORCH_CHECK(images.dim() == 4 && images.size(1) == spec().channels, spec().name, " takes images [N, ",
              spec().channels, ", H, W], not ", images.sizes());
  if (training_) {
    const at::NoGradGuard no_grad;
    at::_foreach_add_(state_.batch_counters, 1);
  }
  const at::Tensor channels_last = images.contiguous(at::MemoryFormat::ChannelsLast);
  const auto pass = FusedPass::begin(state_, flat_, training_);
  if (pass == nullptr) return run(channels_last, training_);
  Outputs outputs = run(with_pass(channels_last.to(at::kBFloat16), pass), training_);
  pass->end();
  return outputs;
}

void Network::to(at::Device device) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : state_.parameters) move_tensor(tensor, device);
  for (const auto& [name, tensor] : state_.buffers) move_tensor(tensor, device);
  flat_ = has_fused_kernels(device) ? move_together(state_.parameters, device) : at::Tensor();
}

}  // namespace ekd
