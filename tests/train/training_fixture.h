// A training small enough for tests, on the synthetic set, with real networks.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "ekd/data/load.h"
#include "ekd/models/registry.h"
#include "ekd/runs/run_dir.h"
#include "ekd/runs/run_record.h"
#include "ekd/train/batch_stream.h"
#include "ekd/train/fit.h"
#include "ekd/train/learner.h"
#include "tests/support/temporary_folder.h"

namespace ekd::test {

struct TrainingSpec {
  std::string augmentation = "none";
  std::string model = "shufflenet_v1";
  std::string schedule = "cosine";
  std::int64_t epochs = 2;
  std::size_t teachers = 0;
  double lr = 0.002;
  Precision precision = Precision::kFp32;
  at::Device device = at::kCPU;
  bool graph = true;
  const DistillationLossRow* loss = &distillation_loss_registry().at("kd");  // where there are teachers
  double ema = 0;
  std::vector<double> teacher_temperatures = {};
  std::string optimizer = "sgd";
  double clip_norm = 0;
  double label_smoothing = 0;
};

inline const Dataset& tiny_data() {
  static const Dataset data = load_dataset({.dataset = "synthetic", .train_limit = 22, .test_limit = 8, .classes = 4});
  return data;
}

inline ImageSet on_device(const ImageSet& set, at::Device device) {
  return {set.images.to(device), set.labels.to(device)};
}

// One run of a spec in one folder: 22 images in batches of 8, so 3 steps an epoch and a smaller last batch.
class Training {
 public:
  Training(const TrainingSpec& spec, const std::filesystem::path& folder) : dir_(folder) {
    at::set_num_threads(1);
    spdlog::set_level(spdlog::level::warn);
    std::vector<Teacher> teachers;
    for (std::size_t i = 0; i < spec.teachers; ++i) {
      teachers.push_back(
          {"t" + std::to_string(i), "", "", make_model({.name = "shufflenet_v1", .classes = 4}, 100 + i)});
      teachers.back().model->set_training(false);
      teachers.back().model->to(spec.device);
    }
    AugmentConfig augment;
    augment.name = spec.augmentation;
    stream_ = std::make_unique<BatchStream>(
        AugmentationContext{on_device(tiny_data().train, spec.device), tiny_data().classes, tiny_data().normalisation,
                            augment, /*seed=*/3, /*batch_size=*/8},
        teachers, spec.precision, spec.graph);
    learner_ = std::make_unique<Learner>(setup(spec), dir_, stream_->steps_per_epoch());
  }

  // Steps up to, not including, `end`; epochs that get complete are finished.
  void train_until(Position end) {
    while (learner_->position() < end) {
      const Position here = learner_->position();
      stream_->begin_epoch(here.epoch);
      learner_->train_step(stream_->batch(here.step, learner_->setup().objective.questions()));
      if (learner_->position().step == stream_->steps_per_epoch()) learner_->finish_epoch();
    }
  }

  BatchStream& stream() { return *stream_; }
  Learner& learner() { return *learner_; }
  const RunDir& dir() const { return dir_; }

 private:
  // All the teachers are shufflenet_v1, as the student is where a loss looks at features.
  static Objective distillation(const TrainingSpec& spec) {
    std::vector<std::size_t> all(spec.teachers);
    std::iota(all.begin(), all.end(), 0);
    LossContext context{.classes = 4, .seed = 3};
    context.labels = tiny_data().train.labels.to(spec.device);
    const auto network = make_model({.name = "shufflenet_v1", .classes = 4}, 0);
    context.student = feature_shapes(*network, at::zeros({1, 3, 32, 32}));
    context.teachers.assign(spec.teachers, context.student);
    context.labels = on_device(tiny_data().train, spec.device).labels;
    const LossDefaults& published = spec.loss->defaults;
    DistillConfig config{
        .temperature = published.temperature, .kd_weight = published.kd_weight, .ce_weight = published.ce_weight};
    for (const auto& setting : spec.loss->settings) config.loss_settings[setting.name] = setting.value;
    Objective objective(12, *spec.loss, config, context, all);
    if (!spec.teacher_temperatures.empty()) objective.scale_teachers(spec.teacher_temperatures);
    objective.to(spec.device);
    return objective;
  }

  static LearnerSetup setup(const TrainingSpec& spec) {
    OptimConfig optim;
    optim.epochs = spec.epochs;
    optim.lr = spec.lr;
    optim.schedule = spec.schedule;
    optim.ema = spec.ema;
    optim.name = spec.optimizer;
    optim.clip_norm = spec.clip_norm;
    auto model = make_model({.name = spec.model, .classes = 4}, /*seed=*/3);
    model->to(spec.device);
    Objective objective = spec.teachers > 0 ? distillation(spec) : Objective(12);
    objective.smooth_labels(spec.label_smoothing);
    return {.model = std::move(model),
            .objective = std::move(objective),
            .optim = optim,
            .eval_every = 1,
            .graph = spec.graph,
            .predict = {tiny_data().normalisation, 8, spec.precision, spec.graph},
            .watched = {"test", on_device(tiny_data().test, spec.device)},
            .identity = {.settings = {{"optim.lr", spec.lr}},
                         .defaults = {{"optim.lr", 0.05}},
                         .dataset_sha256 = tiny_data().sha256,
                         .compute = "cpu"}};
  }

  RunDir dir_;
  std::unique_ptr<BatchStream> stream_;
  std::unique_ptr<Learner> learner_;
};

// Trains all to the end.
inline void train_to_the_end(BatchStream& stream, const std::vector<Learner*>& learners) {
  const FitResult result = fit(stream, learners, ProgressStyle::kNone);
  EXPECT_EQ(result.stopped, 0);
  for (const auto& failure : result.failures) EXPECT_FALSE(failure) << failure->message;
}

inline void expect_same_bits(const std::vector<NamedTensor>& left, const std::vector<NamedTensor>& right) {
  ASSERT_EQ(left.size(), right.size());
  for (std::size_t i = 0; i < left.size(); ++i) EXPECT_TRUE(at::equal(left[i].tensor, right[i].tensor)) << left[i].name;
}

inline void expect_same_bits(const Classifier& a, const Classifier& b) {
  expect_same_bits(model_state(a), model_state(b));
}

// Trainings that have ended: the same bits, files and metrics but for times.
inline void expect_same_runs(Training& a, Training& b) {
  expect_same_bits(a.learner().model(), b.learner().model());
  expect_same_bits(a.learner().setup().objective.state(), b.learner().setup().objective.state());
  EXPECT_EQ(read_text(a.dir().last()), read_text(b.dir().last()));
  EXPECT_EQ(read_text(a.dir().best()), read_text(b.dir().best()));
  if (a.learner().average() != nullptr) {
    EXPECT_EQ(read_text(a.dir().ema()), read_text(b.dir().ema()));
  }
  auto left = read_metrics(a.dir().metrics()), right = read_metrics(b.dir().metrics());
  EXPECT_EQ(left.size(), static_cast<std::size_t>(a.learner().setup().optim.epochs));
  for (auto* lines : {&left, &right})
    for (auto& line : *lines) {
      line.erase("seconds");
      line.erase("images_per_s");
    }
  EXPECT_EQ(left, right);
}

}  // namespace ekd::test
