#include "ekd/evaluate/predict.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>

#include "ekd/augment/base_view.h"

namespace ekd {

Predictions predict(Classifier& model, const ImageSet& set, const PredictOptions& options) {
  const at::NoGradGuard no_grad;
  model.set_training(false);
  const at::Device device = set.images.device();
  const at::TensorOptions floats = at::TensorOptions().dtype(at::kFloat).device(device);
  at::Tensor logits = at::empty({set.size(), model.spec().classes}, floats);
  for (std::int64_t begin = 0; begin < set.size(); begin += options.batch_size) {
    const std::int64_t count = std::min(options.batch_size, set.size() - begin);
    const at::Tensor images =
        clean_view(set.images.narrow(0, begin, count), options.normalisation, image_dtype(options.precision));
    const AutocastGuard autocast(device, options.precision);
    logits.narrow(0, begin, count).copy_(model.forward(images).logits);
  }
  return {logits.to(at::kCPU), set.labels.to(at::kCPU)};
}

}  // namespace ekd
