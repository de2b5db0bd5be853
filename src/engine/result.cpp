#include "ekd/engine/result.h"

#include <ATen/core/grad_mode.h>

#include "ekd/metrics/evaluate.h"

namespace ekd {
namespace {

nlohmann::ordered_json test_metrics(Learner& learner, const Dataset& data) {
  PredictOptions options = learner.setup().predict;
  options.precision = Precision::kFp32;
  const Predictions predictions = predict(learner.model(), data.test, options);
  return to_json(compute_metrics(log_probabilities(predictions.logits), predictions.labels, {15, 100}));
}

// The model holds `weights` while this lives, its own again afterwards.
class BorrowedWeights {
 public:
  BorrowedWeights(const Classifier& model, const std::vector<NamedTensor>& weights) : live_(model_state(model)) {
    for (const auto& [name, tensor] : live_) own_.push_back({name, tensor.detach().clone()});
    copy(weights);
  }
  ~BorrowedWeights() { copy(own_); }
  BorrowedWeights(const BorrowedWeights&) = delete;
  BorrowedWeights& operator=(const BorrowedWeights&) = delete;

 private:
  void copy(const std::vector<NamedTensor>& from) {
    const at::NoGradGuard no_grad;
    for (std::size_t i = 0; i < live_.size(); ++i) at::Tensor(live_[i].tensor).copy_(from[i].tensor);
  }
  std::vector<NamedTensor> live_, own_;
};

}  // namespace

nlohmann::ordered_json make_result(Command command, const Config& config, const Dataset& data, Learner& learner) {
  const std::int64_t last_epoch = learner.position().epoch - 1;
  nlohmann::ordered_json last = {{"epoch", last_epoch}}, best = {{"epoch", learner.best().epoch}, {"selected_on", learner.setup().watched.name}};
  last.update(test_metrics(learner, data));
  if (learner.best().epoch == last_epoch) {
    best.update(last);
  } else {
    const BorrowedWeights borrowed(learner.model(), learner.best().weights);
    best.update(test_metrics(learner, data));
  }
  return {{"command", command_name(command)},
          {"model", config.model.name},
          {"augmentation", config.augment.name},
          {"classes", data.classes},
          {"parameters", parameter_count(learner.model())},
          {"epochs", config.optim.epochs},
          {"seed", config.run.seed},
          {"precision", precision_name(learner.setup().predict.precision)},
          {"train_images", data.train.size()},
          {"seconds", learner.total_seconds()},
          {"last", last},
          {"best", best}};
}

}  // namespace ekd
