#include "ekd/train/learner.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <spdlog/spdlog.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/evaluate/model_file.h"
#include "ekd/metrics/evaluate.h"
#include "ekd/metrics/registry.h"
#include "train/schedule.h"

namespace ekd {
namespace {

constexpr int kEpochBins = 15;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr const char* kGradientNorm = "grad_norm";
constexpr const char* kAdvice = "; try a lower --lr or --warmup-epochs";
const MetricKey kEpochMetrics[] = {{"accuracy"}, {"nll"}, {"ece", kEpochBins}, {"oe", kEpochBins}};

// Whether every element of every tensor is finite: one number is read back.
bool all_finite(const std::vector<NamedTensor>& tensors) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> floating;
  for (const auto& named : tensors)
    if (named.tensor.is_floating_point()) floating.push_back(named.tensor.detach());
  return std::isfinite(at::stack(at::_foreach_norm(floating, kInfinity)).to(at::kDouble).sum().item<double>());
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<NamedTensor> all_of(std::vector<NamedTensor> tensors, const std::vector<NamedTensor>& more) {
  tensors.insert(tensors.end(), more.begin(), more.end());
  return tensors;
}

at::Device device_of(const Classifier& model) { return model.parameters().at(0).tensor.device(); }

// In host memory, as files have them: they stay what they are while training goes on.
void copy_to_host(std::vector<NamedTensor>& tensors) {
  for (auto& [name, tensor] : tensors)
    tensor = tensor.detach().to(at::kCPU, /*non_blocking=*/false, /*copy=*/true).contiguous();
}

}  // namespace

Learner::Learner(LearnerSetup setup, const RunDir& dir, std::int64_t steps_per_epoch)
    : setup_(std::move(setup)),
      dir_(dir),
      steps_per_epoch_(steps_per_epoch),
      optimizer_(all_of(setup_.model->parameters(), setup_.objective.parameters()), setup_.optim,
                 device_of(*setup_.model).is_cuda() ? RateIn::kTensor : RateIn::kHost),
      sums_(device_of(*setup_.model)),
      predictor_(*setup_.model, setup_.predict),
      steps_(device_of(*setup_.model), setup_.graph, folder(), Comes::kFirst) {
  if (setup_.optim.ema > 0) {
    average_.emplace(*setup_.model, setup_.optim.ema);
    average_predictor_.emplace(average_->model(), setup_.predict);
  }
  if (setup_.objective.needs().epoch)
    epoch_ = at::zeros({}, at::TensorOptions().dtype(at::kFloat).device(device_of(*setup_.model)));
  if (path_exists(dir_.checkpoint())) resume();
}

double Learner::rate_at(std::int64_t epoch, std::int64_t step) const {
  return learning_rate_at(setup_.optim, epoch * steps_per_epoch_ + step, steps_per_epoch_);
}

double Learner::epochs_done() const {
  return static_cast<double>(position_.epoch) +
         static_cast<double>(position_.step) / static_cast<double>(steps_per_epoch_);
}

void Learner::train_step(const Batch& batch) {
  if (saving_.valid() && saving_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) wait_for_saving();
  setup_.model->set_training(true);
  const auto prepare = [&] {
    optimizer_.set_rate(rate_at(position_.epoch, position_.step));
    sums_.begin_step(position_.step, batch.size());
    if (epoch_.defined()) epoch_.fill_(epochs_done());
  };
  steps_.run(batch.with_answers_to(setup_.objective.questions()), {batch.size(), batch.views},
             {prepare, [this](const Batch& own) { compute_step(own); }});
  ++position_.step;
  if (batch.images.is_cpu()) check_finite(&batch);
}

// May be recorded and replayed: no number of the host that changes between steps, nothing read back.
void Learner::compute_step(const Batch& batch) {
  optimizer_.drop_gradients();  // of a recording that failed
  Outputs outputs;
  {
    const AutocastGuard autocast(batch.images.device(), setup_.predict.precision);
    outputs = setup_.model->forward(batch.images);
  }
  outputs.logits = outputs.logits.to(at::kFloat);
  if (!setup_.objective.needs().features) outputs.features.clear();  // their memory is free in the backward pass
  LossTerms losses = setup_.objective.terms(batch, outputs, epoch_);
  const at::Tensor total = losses.total();
  total.backward();
  const at::Tensor gradient_norm = optimizer_.step();
  if (average_) average_->update();
  // Summed and checked with the terms, whose names come before it where both are not finite.
  if (gradient_norm.defined()) losses.terms.insert(losses.terms.begin(), {kGradientNorm, gradient_norm, 0});
  sums_.add(losses, total, batch.size());
}

void Learner::add_seconds(double seconds) {
  epoch_seconds_ += seconds;
  total_seconds_ += seconds;
}

// Position {2, 0} of 2 epochs is "epoch 2/2, step 6/6".
std::string Learner::place_of(Position at) const {
  const bool end = at.epoch >= setup_.optim.epochs;
  return fmt::format("epoch {}/{}, step {}/{}", end ? setup_.optim.epochs : at.epoch + 1, setup_.optim.epochs,
                     end ? steps_per_epoch_ : at.step, steps_per_epoch_);
}

// "RUN: WHAT not finite WHEN epoch 3/9, step 4/6, learning rate …"
NonFiniteError Learner::not_finite(const std::string& what, const std::string& when, Position at,
                                   const std::string& advice) const {
  return NonFiniteError(fmt::format("{}: {} not finite {} {}, learning rate {:g}; the last good checkpoint is kept{}",
                                    folder(), what, when, place_of(at),
                                    rate_at(at.epoch, std::max<std::int64_t>(at.step - 1, 0)), advice));
}

// Throws where a loss of the steps so far, or what they left, is not finite: nothing of it is saved then.
void Learner::check_all(const std::string& when, Position at) {
  steps_.join();
  check_finite();
  if (!all_finite(all_of(model_state(*setup_.model), setup_.objective.state())))
    throw not_finite("weights are", when, at);
  // AdamW's squares may overflow while weights do not: it would stand still then.
  if (const auto state = optimizer_.state(); !state.empty() && !all_finite(state))
    throw not_finite("the optimiser's averages are", when, at);
}

// `batch`: of the last step, where it is at hand.
void Learner::check_finite(const Batch* batch) const {
  const auto bad = sums_.first_non_finite();
  if (bad.step < 0) return;
  const Position at{position_.epoch, bad.step + 1};
  for (const auto& [index, name] : setup_.teachers) {
    const bool at_fault = batch != nullptr && !batch->teachers.at(index).logits.isfinite().all().item<bool>();
    if (at_fault) throw not_finite("the answers of the teacher '" + name + "' are", "at", at);
  }
  if (bad.term == kGradientNorm) throw not_finite("the norm of the gradients is", "at", at, kAdvice);
  throw not_finite("the loss term '" + bad.term + "' is", "at", at, kAdvice);
}

bool Learner::evaluates() const {
  const bool last = position_.epoch + 1 == setup_.optim.epochs;
  return last || (position_.epoch + 1) % setup_.eval_every == 0;
}

Metrics Learner::evaluate(Predictor& predictor, const std::string& whose) const {
  const Predictions predictions = predictor.predict(setup_.watched.set);
  if (!predictions.logits.isfinite().all().item<bool>()) {
    throw not_finite("the " + whose + "answers to the " + setup_.watched.name + " split are", "after",
                     {position_.epoch, steps_per_epoch_});
  }
  return compute_metrics(scaled_logits(predictions.logits), predictions.labels, {kEpochBins});
}

bool Learner::is_best(const Metrics& metrics) const {
  if (best_.epoch < 0) return true;
  const MetricColumn column = *find_metric_column(setup_.best);
  const double value = metrics.values.at(column.key);
  return column.row->better == Better::kLarger ? value > best_.value : value < best_.value;
}

// A loss that grows a hundredfold, or answers a hundred times worse than chance, do not come back.
void Learner::warn_of_divergence(double loss, const std::optional<Metrics>& metrics) {
  constexpr double kMuch = 100;
  const double chance = std::log(static_cast<double>(setup_.model->spec().classes));
  std::string what;
  if (smallest_loss_ && *smallest_loss_ > 0 && loss > kMuch * *smallest_loss_)
    what = fmt::format("the training loss has grown from {:.4g} to {:.4g}", *smallest_loss_, loss);
  else if (metrics && metrics->at("nll") > kMuch * std::max(chance, 1.0))
    what =
        fmt::format("the {} NLL is {:.4g}, where chance has {:.4g}", setup_.watched.name, metrics->at("nll"), chance);
  smallest_loss_ = std::min(loss, smallest_loss_.value_or(loss));
  if (what.empty() || diverges_) return;
  diverges_ = true;
  spdlog::warn("{}: {}: the training diverges; try a lower --lr{}", folder(), what,
               setup_.teachers.empty() ? "" : " or --kd-weight (docs/method.md)");
}

nlohmann::ordered_json Learner::log_epoch(const std::optional<Metrics>& metrics,
                                          const std::optional<Metrics>& of_average, double evaluation_seconds) {
  const auto means = sums_.means();
  const auto terms =
      std::ranges::count_if(means, [](const auto& mean) { return mean.name != "loss" && mean.name != kGradientNorm; });
  nlohmann::ordered_json line = {{"epoch", position_.epoch}, {"lr", rate_at(position_.epoch, 0)}};
  std::string text = fmt::format("{}epoch {}/{}  lr {:.4g}", setup_.label, position_.epoch + 1, setup_.optim.epochs,
                                 rate_at(position_.epoch, 0));
  for (const auto& mean : means) {
    const bool is_norm = mean.name == kGradientNorm;
    line[is_norm ? mean.name : "train_" + mean.name] = mean.value;
    const bool repeats_loss = !is_norm && mean.name != "loss" && terms == 1;
    if (!repeats_loss) text += fmt::format("  {} {:.4f}", mean.name, mean.value);
  }
  const auto add = [&](const Metrics& found, const std::string& columns, const std::string& name) {
    for (const MetricKey& key : kEpochMetrics) line[columns + column_name(key)] = found.values.at(key);
    text += fmt::format("  {} accuracy {:.2f} %, nll {:.3f}, ece {:.4f}", name, 100 * found.at("accuracy"),
                        found.at("nll"), found.at("ece", kEpochBins));
  };
  const std::string& split = setup_.watched.name;
  if (metrics) add(*metrics, split + "_", split);
  if (of_average) add(*of_average, split + "_ema_", "ema");
  const double rate = epoch_seconds_ > 0 ? static_cast<double>(sums_.samples()) / epoch_seconds_ : 0;
  line["images_per_s"] = rate;
  line["seconds"] = epoch_seconds_ + evaluation_seconds;
  spdlog::info("{}  {:.0f} images/s", text, rate);
  spdlog::debug("{}evaluated in {:.1f} s, trained in {:.1f} s", setup_.label, evaluation_seconds, epoch_seconds_);
  warn_of_divergence(line["train_loss"].get<double>(), metrics);
  return line;
}

nlohmann::json Learner::about_weights(const std::optional<Metrics>& metrics) const {
  nlohmann::json about = {{"epoch", position_.epoch}, {"normalisation", setup_.identity.normalisation}};
  if (metrics) about["metrics"] = {{setup_.watched.name, to_json(*metrics)}};
  return about;
}

void Learner::finish_epoch() {
  check_all("after", {position_.epoch, steps_per_epoch_});
  const auto start = std::chrono::steady_clock::now();
  std::optional<Metrics> metrics, of_average;
  if (evaluates()) {
    metrics = evaluate(predictor_, "");
    if (average_) of_average = evaluate(*average_predictor_, "averaged weights' ");
  }
  const double evaluation_seconds = seconds_since(start);
  const auto line = log_epoch(metrics, of_average, evaluation_seconds);
  total_seconds_ += evaluation_seconds;
  const std::int64_t epoch = position_.epoch;
  const nlohmann::json about = about_weights(metrics), about_average = about_weights(of_average);
  sums_.clear();
  epoch_seconds_ = 0;
  position_ = {epoch + 1, 0};

  Checkpoint now = host_checkpoint();
  const bool best = metrics && is_best(*metrics);
  if (best) now.best = best_ = {epoch, metrics->values.at(find_metric_column(setup_.best)->key), now.model};
  std::vector<NamedTensor> averaged;
  if (average_) copy_to_host(averaged = model_state(average_->model()));
  save([this, now = std::move(now), averaged = std::move(averaged), line, epoch, best, about, about_average] {
    const ModelSpec& spec = setup_.model->spec();
    if (!metric_log_) metric_log_.emplace(dir_.metrics(), epoch);
    metric_log_->append(line);
    save_weights(dir_.last(), spec, now.model, about);
    if (average_) save_weights(dir_.ema(), spec, averaged, about_average);
    if (best) {
      nlohmann::json about_best = about;
      about_best["selected_on"] = setup_.watched.name;
      save_weights(dir_.best(), spec, now.model, about_best);
    }
    ekd::save_checkpoint(dir_.checkpoint(), now);
  });
  if (finished()) wait_for_saving();
}

void Learner::save_checkpoint() {
  check_all("after", position_);
  save([this, now = host_checkpoint()] { ekd::save_checkpoint(dir_.checkpoint(), now); });
  wait_for_saving();
}

void Learner::save(std::function<void()> write) {
  wait_for_saving();
  saving_ = std::async(std::launch::async, std::move(write));
}

void Learner::wait_for_saving() {
  if (saving_.valid()) saving_.get();
}

Checkpoint Learner::host_checkpoint() const {
  Checkpoint now = checkpoint();
  for (auto* tensors : {&now.model, &now.objective, &now.optimizer, &now.average}) copy_to_host(*tensors);
  return now;
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
          .optimizer = optimizer_.state(),
          .average = average_ ? average_->state() : std::vector<NamedTensor>()};
}

void Learner::resume() {
  Checkpoint stored = checkpoint();
  load_checkpoint(dir_.checkpoint(), stored, {setup_.optim.epochs, steps_per_epoch_});
  position_ = stored.position;
  best_ = std::move(stored.best);
  epoch_seconds_ = stored.epoch_seconds;
  total_seconds_ = stored.total_seconds;
  sums_.restore(stored.sums, stored.sum_names, stored.samples);
  began_on_ = stored.began_on;
  for (const auto& line : read_metrics(dir_.metrics())) {
    if (!line.contains("train_loss") || !line["train_loss"].is_number()) continue;
    const double loss = line["train_loss"];
    if (line["epoch"] < position_.epoch) smallest_loss_ = std::min(loss, smallest_loss_.value_or(loss));
  }
}

}  // namespace ekd
