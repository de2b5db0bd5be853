// A network in training: model, optimiser, objective and run directory. It makes one step from a batch and knows how to
// save itself and go on.
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "ekd/core/device.h"
#include "ekd/core/failure.h"
#include "ekd/core/step_graph.h"
#include "ekd/evaluate/predictions.h"
#include "ekd/metrics/metrics.h"
#include "ekd/models/classifier.h"
#include "ekd/runs/run_dir.h"
#include "ekd/runs/run_record.h"
#include "ekd/settings/training.h"
#include "ekd/train/checkpoint.h"
#include "ekd/train/epoch_sums.h"
#include "ekd/train/objective.h"
#include "ekd/train/optimizer.h"
#include "ekd/train/weight_average.h"

namespace ekd {

// The split that is evaluated after epochs and chooses the best one.
struct WatchedSplit {
  std::string name;  // "val" or "test"
  ImageSet set;      // on the model's device
};

struct LearnerSetup {
  std::unique_ptr<Classifier> model;  // on its device, in its final layout
  Objective objective;
  OptimConfig optim;
  std::int64_t eval_every = 1;
  std::string best = "accuracy";  // the column of the metric that chooses the best epoch
  bool graph = true;              // on CUDA: steps become graphs
  PredictOptions predict;         // its precision is also the training's
  WatchedSplit watched;
  RunIdentity identity;
  WorkContext work;                             // of its steps, for what goes wrong with them
  std::map<std::size_t, std::string> teachers;  // names, by index into a batch's teachers
  std::string label;  // before each epoch's line in the log: whose it is where several train together
};

class Learner {
 public:
  // Starts at the beginning, or goes on from the directory's checkpoint where there is one. Writes nothing: what is
  // refused stays as it is. `steps_per_epoch` is the stream's. Throws WeightsError and UsageError as load_checkpoint
  // does.
  Learner(LearnerSetup setup, const RunDir& dir, std::int64_t steps_per_epoch);

  Position position() const { return position_; }
  bool finished() const { return position_.epoch >= setup_.optim.epochs; }

  // Forward, objective, backward, one optimiser step. Throws NonFiniteError at once on the CPU; on a GPU, where looking
  // would stall the pipeline, when the epoch ends. There the step runs on a stream of the learner's own, and the host
  // does not wait for it; the batch may be gone meanwhile.
  void train_step(const Batch& batch);

  // Waits until the device has done the steps.
  void wait() { steps_.wait(); }

  // Takes the wall time that training steps took since the last call or save.
  void add_seconds(double seconds);

  // After the last step of an epoch: metrics, best, weights, checkpoint. Throws NonFiniteError before anything is
  // saved. Files are written from copies, on a thread of their own, while the next epoch is trained; what goes wrong
  // with them is thrown by a later step or save. After the last epoch they are written on return.
  void finish_epoch();

  // Waits until files are written. Throws what went wrong with them.
  void wait_for_saving();

  // Saves a checkpoint in the middle of an epoch; it is written on return. Throws NonFiniteError before anything is
  // saved.
  void save_checkpoint();

  // What is logged from now on goes to this file, too.
  void log_to(LogFile* log) { setup_.work.log = log; }

  // What a run that goes on computed on before; empty for a new one.
  const std::string& began_on() const { return began_on_; }
  // "epoch 2/3, step 4/6": where it stands, in steps that are done. Epochs count from 1.
  std::string place() const { return place_of(position_); }
  double rate_at(std::int64_t epoch, std::int64_t step) const;

  Classifier& model() { return *setup_.model; }
  // The network of averaged weights; null without optim.ema.
  Classifier* average() { return average_ ? &average_->model() : nullptr; }
  const BestEpoch& best() const { return best_; }
  const LearnerSetup& setup() const { return setup_; }
  double total_seconds() const { return total_seconds_; }
  std::string folder() const { return dir_.folder().string(); }

 private:
  void compute_step(const Batch& batch);
  void resume();
  NonFiniteError not_finite(const std::string& what, const std::string& when, Position at,
                            const std::string& advice = "") const;
  void check_all(const std::string& when, Position at);
  void check_finite(const Batch* batch = nullptr) const;
  bool is_best(const Metrics& metrics) const;
  void warn_of_divergence(double loss, const std::optional<Metrics>& metrics);
  Checkpoint checkpoint() const;
  Checkpoint host_checkpoint() const;
  void save(std::function<void()> write);
  double epochs_done() const;
  std::string place_of(Position at) const;
  bool evaluates() const;
  Metrics evaluate(Predictor& predictor, const std::string& whose) const;
  nlohmann::json about_weights(const std::optional<Metrics>& metrics) const;
  nlohmann::ordered_json log_epoch(const std::optional<Metrics>& metrics, const std::optional<Metrics>& of_average,
                                   double evaluation_seconds);

  LearnerSetup setup_;
  const RunDir& dir_;
  std::int64_t steps_per_epoch_;
  Optimizer optimizer_;
  std::optional<WeightAverage> average_;
  EpochSums sums_;
  at::Tensor epoch_;  // as in DistillationInput; undefined where the objective does not need it
  Position position_;
  BestEpoch best_;
  double epoch_seconds_ = 0, total_seconds_ = 0;
  std::string began_on_;
  std::optional<double> smallest_loss_;  // of the epochs so far
  bool diverges_ = false;                // has been said
  std::optional<MetricLog> metric_log_;  // from the first line on; the saving thread's
  Predictor predictor_;
  std::optional<Predictor> average_predictor_;
  StepGraph steps_;           // goes before what its steps work on, and waits for them
  std::future<void> saving_;  // the first to go, and waits likewise: of the last save, until it has been asked
};

}  // namespace ekd
