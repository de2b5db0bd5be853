#include "train/result.h"

#include <ATen/core/grad_mode.h>

#include "ekd/evaluate/predictions.h"
#include "ekd/metrics/evaluate.h"

namespace ekd {
namespace {

Predictions predict_fp32(Classifier& model, const ImageSet& set, PredictOptions options) {
  options.precision = Precision::kFp32;
  return predict(model, set, options);
}

nlohmann::ordered_json metrics_of(const Predictions& predictions) {
  return to_json(compute_metrics(scaled_logits(predictions.logits), predictions.labels, kReportedBins));
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

nlohmann::ordered_json make_result(Command command, const Config& config, const Dataset& data, Learner& learner,
                                   const RunDir& dir) {
  const std::int64_t last_epoch = learner.position().epoch - 1;
  const PredictOptions& options = learner.setup().predict;
  nlohmann::ordered_json last = {{"epoch", last_epoch}}, best = {{"epoch", learner.best().epoch},
                                                                 {"selected_on", learner.setup().watched.name},
                                                                 {"selected_by", learner.setup().best}};
  const Predictions predictions = predict_fp32(learner.model(), data.test, options);
  last.update(metrics_of(predictions));
  save_predictions(dir.predictions(), predictions, {{"split", "test"}, {"epoch", last_epoch}});
  if (data.val.size() > 0)
    save_predictions(dir.val_predictions(), predict_fp32(learner.model(), data.val, options),
                     {{"split", "val"}, {"epoch", last_epoch}});
  if (learner.best().epoch == last_epoch) {
    best.update(last);  // the same weights
  } else {
    const BorrowedWeights borrowed(learner.model(), learner.best().weights);
    best.update(metrics_of(predict_fp32(learner.model(), data.test, options)));
  }
  nlohmann::ordered_json result{{"command", command_name(command)},
                                {"model", config.model.name},
                                {"augmentation", config.augment.name},
                                {"dataset", data.name},
                                {"classes", data.classes},
                                {"parameters", parameter_count(learner.model())},
                                {"epochs", config.optim.epochs},
                                {"seed", config.run.seed},
                                {"precision", precision_name(learner.setup().predict.precision)},
                                {"train_images", data.train.size()},
                                {"seconds", learner.total_seconds()},
                                {"last", last},
                                {"best", best}};
  if (Classifier* average = learner.average()) {
    const Predictions averaged = predict_fp32(*average, data.test, options);
    save_predictions(dir.ema_predictions(), averaged, {{"split", "test"}, {"epoch", last_epoch}});
    if (data.val.size() > 0)
      save_predictions(dir.ema_val_predictions(), predict_fp32(*average, data.val, options),
                       {{"split", "val"}, {"epoch", last_epoch}});
    result["ema"] = {{"epoch", last_epoch}};
    result["ema"].update(metrics_of(averaged));
  }
  return result;
}

}  // namespace ekd
