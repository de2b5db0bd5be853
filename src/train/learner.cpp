#include "ekd/train/learner.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <spdlog/spdlog.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <cmath>

#include "ekd/core/error.h"
#include "ekd/evaluate/model_file.h"
#include "ekd/metrics/evaluate.h"
#include "train/schedule.h"

namespace ekd {
namespace {

constexpr int kEpochBins = 15;
const MetricKey kEpochMetrics[] = {{"accuracy"}, {"nll"}, {"ece", kEpochBins}, {"oe", kEpochBins}};

// Whether every element of every tensor is finite: one number is read back.
bool all_finite(const std::vector<NamedTensor>& tensors) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> floating;
  for (const auto& named : tensors)
    if (named.tensor.is_floating_point()) floating.push_back(named.tensor.detach());
  return std::isfinite(at::stack(at::_foreach_norm(floating)).to(at::kDouble).sum().item<double>());
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<NamedTensor> all_of(std::vector<NamedTensor> tensors, const std::vector<NamedTensor>& more) {
  tensors.insert(tensors.end(), more.begin(), more.end());
  return tensors;
}

at::Device device_of(const Classifier& model) { return model.parameters().at(0).tensor.device(); }

}  // namespace

Learner::Learner(LearnerSetup setup, const RunDir& dir, std::int64_t steps_per_epoch)
    : setup_(std::move(setup)),
      dir_(dir),
      steps_per_epoch_(steps_per_epoch),
      sgd_(all_of(setup_.model->parameters(), setup_.objective.parameters()), setup_.optim,
           device_of(*setup_.model).is_cuda() ? RateIn::kTensor : RateIn::kHost),
      sums_(device_of(*setup_.model)),
      steps_(device_of(*setup_.model), setup_.graph, folder()) {
  if (setup_.objective.needs().epoch)
    epoch_ = at::zeros({}, at::TensorOptions().dtype(at::kFloat).device(device_of(*setup_.model)));
  if (std::filesystem::exists(dir_.checkpoint())) resume();
  metric_log_.emplace(dir_.metrics(), position_.epoch);
}

double Learner::rate_at(std::int64_t epoch, std::int64_t step) const {
  return learning_rate_at(setup_.optim, epoch * steps_per_epoch_ + step, steps_per_epoch_);
}

double Learner::epochs_done() const {
  return static_cast<double>(position_.epoch) +
         static_cast<double>(position_.step) / static_cast<double>(steps_per_epoch_);
}

void Learner::train_step(const Batch& batch) {
  setup_.model->set_training(true);
  const auto prepare = [&] {
    sgd_.set_rate(rate_at(position_.epoch, position_.step));
    sums_.begin_step(position_.step, batch.size());
    if (epoch_.defined()) epoch_.fill_(epochs_done());
  };
  steps_.run(batch.with_answers_to(setup_.objective.questions()), {batch.size(), batch.views},
             {prepare, [this](const Batch& own) { compute_step(own); }});
  ++position_.step;
  if (batch.images.is_cpu()) check_finite();
}

// May be recorded and replayed: no number of the host that changes between steps, nothing read back.
void Learner::compute_step(const Batch& batch) {
  sgd_.drop_gradients();  // of a recording that failed
  Outputs outputs;
  {
    const AutocastGuard autocast(batch.images.device(), setup_.predict.precision);
    outputs = setup_.model->forward(batch.images);
  }
  outputs.logits = outputs.logits.to(at::kFloat);
  if (!setup_.objective.needs().features) outputs.features.clear();  // their memory is free in the backward pass
  const LossTerms losses = setup_.objective.terms(batch, outputs, epoch_);
  const at::Tensor total = losses.total();
  total.backward();
  sgd_.step();
  sums_.add(losses, total, batch.size());
}

void Learner::add_seconds(double seconds) {
  epoch_seconds_ += seconds;
  total_seconds_ += seconds;
}

// "RUN: WHAT not finite WHEN epoch 3, …"
NonFiniteError Learner::not_finite(const std::string& what, const std::string& when, Position at,
                                   const std::string& advice) const {
  return NonFiniteError(folder() + ": " + what + " not finite " + when + " epoch " + std::to_string(at.epoch) +
                        ", learning rate " + fmt::format("{:g}", rate_at(at.epoch, at.step)) +
                        "; the last good checkpoint is kept" + advice);
}

// Throws where a loss of the steps so far, or what they left, is not finite: nothing of it is saved then.
void Learner::check_all(const std::string& when, Position at) {
  steps_.join();
  check_finite();
  if (!all_finite(all_of(model_state(*setup_.model), setup_.objective.state())))
    throw not_finite("weights are", when, at);
}

void Learner::check_finite() const {
  const auto bad = sums_.first_non_finite();
  if (bad.step < 0) return;
  const Position at{position_.epoch, bad.step};
  throw not_finite("the loss term '" + bad.term + "' is", "at step " + std::to_string(bad.step) + " of", at,
                   "; try a lower --lr or --warmup-epochs");
}

std::optional<Metrics> Learner::evaluate_epoch() {
  const bool last = position_.epoch + 1 == setup_.optim.epochs;
  if (!last && (position_.epoch + 1) % setup_.eval_every != 0) return std::nullopt;
  const Predictions predictions = predict(*setup_.model, setup_.watched.set, setup_.predict);
  if (!predictions.logits.isfinite().all().item<bool>()) {
    throw not_finite("the answers to the " + setup_.watched.name + " split are", "after",
                     {position_.epoch, steps_per_epoch_ - 1});
  }
  return compute_metrics(scaled_logits(predictions.logits), predictions.labels, {kEpochBins});
}

void Learner::log_epoch(const std::optional<Metrics>& metrics, double evaluation_seconds) {
  const auto means = sums_.means();
  nlohmann::ordered_json line = {{"epoch", position_.epoch}, {"lr", rate_at(position_.epoch, 0)}};
  std::string text = fmt::format("{}epoch {}/{}  lr {:.4g}", setup_.label, position_.epoch + 1, setup_.optim.epochs,
                                 rate_at(position_.epoch, 0));
  for (const auto& mean : means) {
    line["train_" + mean.name] = mean.value;
    const bool repeats_loss = means.size() == 2 && mean.name != "loss";
    if (!repeats_loss) text += fmt::format("  {} {:.4f}", mean.name, mean.value);
  }
  if (metrics) {
    const std::string split = setup_.watched.name + "_";
    for (const MetricKey& key : kEpochMetrics) line[split + column_name(key)] = metrics->values.at(key);
    text += fmt::format("  {} accuracy {:.2f} %, nll {:.3f}, ece {:.4f}", setup_.watched.name,
                        100 * metrics->at("accuracy"), metrics->at("nll"), metrics->at("ece", kEpochBins));
  }
  const double rate = epoch_seconds_ > 0 ? static_cast<double>(sums_.samples()) / epoch_seconds_ : 0;
  line["images_per_s"] = rate;
  line["seconds"] = epoch_seconds_ + evaluation_seconds;
  metric_log_->append(line);
  spdlog::info("{}  {:.0f} images/s", text, rate);
}

void Learner::finish_epoch() {
  check_all("after", {position_.epoch, steps_per_epoch_ - 1});
  const auto start = std::chrono::steady_clock::now();
  const auto metrics = evaluate_epoch();
  const double evaluation_seconds = seconds_since(start);
  log_epoch(metrics, evaluation_seconds);
  total_seconds_ += evaluation_seconds;

  nlohmann::json about = {{"epoch", position_.epoch}};
  if (metrics) about["metrics"] = {{setup_.watched.name, to_json(*metrics)}};
  save_weights(dir_.last(), *setup_.model, about);
  if (metrics && metrics->at("accuracy") > best_.accuracy) {
    best_ = {position_.epoch, metrics->at("accuracy"), {}};
    for (const auto& [name, tensor] : model_state(*setup_.model))
      best_.weights.push_back({name, tensor.detach().clone()});
    about["selected_on"] = setup_.watched.name;
    save_weights(dir_.best(), *setup_.model, about);
  }
  sums_.clear();
  epoch_seconds_ = 0;
  position_ = {position_.epoch + 1, 0};
  ekd::save_checkpoint(dir_.checkpoint(), checkpoint());
}

void Learner::save_checkpoint() {
  check_all("at step " + std::to_string(position_.step) + " of", position_);
  ekd::save_checkpoint(dir_.checkpoint(), checkpoint());
}

Checkpoint Learner::checkpoint() const {
  return {.position = position_,
          .identity = setup_.identity,
          .best = best_,
          .sum_names = sums_.names(),
          .sums = sums_.values(),
          .samples = sums_.samples(),
          .epoch_seconds = epoch_seconds_,
          .total_seconds = total_seconds_,
          .model = model_state(*setup_.model),
          .objective = setup_.objective.state(),
          .momentum = sgd_.state()};
}

void Learner::resume() {
  Checkpoint stored = checkpoint();
  load_checkpoint(dir_.checkpoint(), stored, {setup_.optim.epochs, steps_per_epoch_});
  position_ = stored.position;
  best_ = std::move(stored.best);
  epoch_seconds_ = stored.epoch_seconds;
  total_seconds_ = stored.total_seconds;
  sums_.restore(stored.sums, stored.sum_names, stored.samples);
  spdlog::info("{}: going on from epoch {}, step {}", folder(), position_.epoch, position_.step);
}

}  // namespace ekd
