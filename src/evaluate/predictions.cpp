#include "ekd/evaluate/predictions.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "ekd/augment/base_view.h"
#include "ekd/core/error.h"
#include "ekd/core/tensor_file.h"

namespace ekd {
namespace {

bool look_like_probabilities(const at::Tensor& logits) {
  return logits.size(1) > 1 && (logits >= 0).all().item<bool>() &&
         ((logits.to(at::kDouble).sum(1) - 1).abs() < 1e-3).all().item<bool>();
}

}  // namespace

Predictor::Predictor(Classifier& model, const PredictOptions& options)
    : model_(model), options_(options), graph_(model.parameters().at(0).tensor.device(), options.graph, "evaluation") {}

Predictions Predictor::predict(const ImageSet& set) {
  const at::NoGradGuard no_grad;
  model_.set_training(false);
  const at::Device device = set.images.device();
  const at::TensorOptions floats = at::TensorOptions().dtype(at::kFloat).device(device);
  const at::Tensor logits = at::empty({set.size(), model_.spec().classes}, floats);
  for (std::int64_t begin = 0; begin < set.size(); begin += options_.batch_size) {
    const std::int64_t count = std::min(options_.batch_size, set.size() - begin);
    Batch batch;
    batch.images = set.images.narrow(0, begin, count);
    const ReplayCache::Key key = batch.images.sizes().vec();
    at::Tensor& answer = answers_[key];
    graph_.run(batch, key,
               {[] {},
                [&](const Batch& own) {
                  const at::Tensor images =
                      clean_view(own.images, options_.normalisation, image_dtype(options_.precision));
                  const AutocastGuard autocast(device, options_.precision);
                  answer = model_.forward(images).logits;
                }});
    // Out of the graph, whose next replay overwrites the answer and waits for this copy as for all that the caller's
    // stream was given.
    graph_.join();
    logits.narrow(0, begin, count).copy_(answer);
  }
  return {logits.to(at::kCPU), set.labels.to(at::kCPU)};
}

Predictions predict(Classifier& model, const ImageSet& set, PredictOptions options) {
  constexpr std::int64_t kPaying = 16;  // batches; a recording takes as long as a few of them
  options.graph = options.graph && set.size() >= kPaying * options.batch_size;
  return Predictor(model, options).predict(set);
}

Predictions load_predictions(const std::filesystem::path& path) {
  const TensorFile file = read_tensor_file(path);
  Predictions predictions{file.at("logits"), file.at("labels")};
  const auto reject = [&](const std::string& what) { throw WeightsError(path.string() + ": " + what); };
  if (!predictions.logits.is_floating_point() || predictions.logits.dim() != 2)
    reject("'logits' is not a floating [N, C]");
  if (predictions.labels.scalar_type() != at::kLong || predictions.labels.dim() != 1)
    reject("'labels' is not an I64 [N]");
  const std::int64_t n = predictions.logits.size(0), classes = predictions.logits.size(1);
  if (n == 0 || classes == 0) reject("holds no predictions");
  if (predictions.labels.size(0) != n) {
    reject("has " + std::to_string(n) + " rows of logits and " + std::to_string(predictions.labels.size(0)) +
           " labels");
  }
  const bool in_range =
      predictions.labels.min().item<std::int64_t>() >= 0 && predictions.labels.max().item<std::int64_t>() < classes;
  if (!in_range) reject("has labels outside [0, " + std::to_string(classes) + ")");
  // What is finer than float32 stays so: logits far from 0 would become equal.
  predictions.logits = predictions.logits.to(at::promoteTypes(predictions.logits.scalar_type(), at::kFloat));
  // The log of an ensemble's mean probability may be -inf, but not in a whole row.
  const auto largest = predictions.logits.amax({1});
  if (!largest.isfinite().all().item<bool>()) reject("has logits that are not numbers");
  if (look_like_probabilities(predictions.logits))
    spdlog::warn(
        "{}: every row of 'logits' is of numbers in [0, 1] that sum to 1: are they probabilities? Their "
        "logarithms are logits",
        path.string());
  return predictions;
}

void save_predictions(const std::filesystem::path& path, const Predictions& predictions, const nlohmann::json& about) {
  nlohmann::json own = about;
  own["kind"] = "predictions";
  const auto dtype = at::promoteTypes(predictions.logits.scalar_type(), at::kFloat);
  write_tensor_file(path, {{"logits", predictions.logits.to(dtype)}, {"labels", predictions.labels}}, own);
}

}  // namespace ekd
