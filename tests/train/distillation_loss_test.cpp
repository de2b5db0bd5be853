// What a distillation loss may rely on: its tensors are trained, saved and checked, its teachers are asked for what it
// looks at, and its numbers may change from step to step as tensors only.
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>

#include <limits>
#include <optional>

#include "ekd/augment/augmentation.h"
#include "ekd/core/error.h"
#include "ekd/core/tensor_file.h"
#include "ekd/losses/classification.h"
#include "ekd/losses/combination.h"
#include "losses/logit_loss.h"
#include "tests/support/expect_error.h"
#include "tests/support/operator_trace.h"
#include "tests/train/test_losses.h"
#include "tests/train/training_fixture.h"

namespace ekd {
namespace {

using test::Training;
using test::TrainingSpec;

std::set<std::string> names_in(const std::filesystem::path& path) {
  std::set<std::string> names;
  for (const auto& tensor : read_tensor_file(path).tensors) names.insert(tensor.name);
  return names;
}

TEST(DistillationLoss, ItsOwnTensorsAreTrainedAndSavedBesideTheNetwork) {
  const test::TemporaryFolder folder;
  Training training({.teachers = 2, .loss = &test::kHint}, folder / "run");
  const auto state = training.learner().setup().objective.state();
  ASSERT_EQ(state.size(), 2U);
  EXPECT_EQ(state[0].name, "loss.projection");
  EXPECT_EQ(state[1].name, "loss.mean");
  const at::Tensor start = state[0].tensor.detach().clone();
  training.train_until({1, 0});
  EXPECT_FALSE(at::equal(state[0].tensor, start));
  EXPECT_GT(state[1].tensor.abs().max().item<double>(), 0);

  training.learner().wait_for_saving();
  const auto saved = names_in(training.dir().checkpoint());
  for (const auto* name : {"objective.loss.projection", "objective.loss.mean", "optim.loss.projection"})
    EXPECT_TRUE(saved.contains(name)) << name;
  EXPECT_FALSE(saved.contains("optim.loss.mean"));
  std::set<std::string> weights;
  for (const auto& tensor : model_state(training.learner().model())) weights.insert(tensor.name);
  EXPECT_EQ(names_in(training.dir().last()), weights);
}

TEST(DistillationLoss, ItsOwnTensorsAreFiniteOrNothingIsSaved) {
  const test::TemporaryFolder folder;
  Training training({.teachers = 1, .loss = &test::kHint}, folder / "run");
  training.train_until({0, 1});
  training.learner().setup().objective.state().at(1).tensor.fill_(std::numeric_limits<float>::infinity());
  EXPECT_ERROR(training.learner().save_checkpoint(), NonFiniteError, "weights are not finite");
  EXPECT_FALSE(std::filesystem::exists(training.dir().checkpoint()));
}

TEST(DistillationLoss, ACheckpointOfAnotherLossIsRefused) {
  const test::TemporaryFolder folder;
  {
    Training training({.teachers = 1, .loss = &test::kHint}, folder / "run");
    training.train_until({0, 1});
    training.learner().save_checkpoint();
  }
  EXPECT_ERROR(Training({.teachers = 1}, folder / "run"), WeightsError, "unexpected: ");
}

TEST(DistillationLoss, TeachersAreAskedForTheFeaturesItLooksAt) {
  const test::TemporaryFolder folder;
  Training training({.teachers = 2, .loss = &test::kHint}, folder / "run");
  training.stream().begin_epoch(0);
  const Batch batch = training.stream().batch(0, training.learner().setup().objective.questions());
  ASSERT_EQ(batch.teachers.size(), 2U);
  ASSERT_EQ(batch.teachers[0].features.size(), 1U);
  EXPECT_EQ(batch.teachers[0].features[0].name, "layer3");
  EXPECT_TRUE(batch.teachers[1].features.empty());
  for (const auto& outputs : batch.teachers) EXPECT_EQ(outputs.logits.sizes(), (std::vector<std::int64_t>{8, 4}));
}

// A batch of 8 images that two teachers were asked about, and what a student said.
struct Asked {
  Batch batch;
  Outputs student = outputs();
  at::Tensor epoch = at::zeros({}, at::kFloat);
  LossContext context{.classes = 4,
                      .seed = 0,
                      .student = kStudent,
                      .teachers = {kTeachers[0], kTeachers[1]},
                      .labels = at::arange(16, at::kLong).remainder(4),
                      .teacher_weights = {1, 1}};

  Asked() {
    batch.targets = at::full({8, 4}, 0.25);
    batch.labels = at::zeros({8}, at::kLong);
    batch.indices = at::arange(8, at::kLong);
    batch.teachers = {said(kTeachers[0]), said(kTeachers[1])};
  }
  static Outputs outputs() {
    Outputs student = said(kStudent);
    student.logits.requires_grad_();
    for (auto& feature : student.features) feature.tensor.requires_grad_();
    return student;
  }

 private:
  static Outputs said(const std::vector<FeatureShape>& shapes) {
    Outputs outputs{at::randn({8, 4}), {}};
    for (const auto& [name, sizes] : shapes) {
      std::vector<std::int64_t> batch_sizes{8};
      batch_sizes.insert(batch_sizes.end(), sizes.begin(), sizes.end());
      outputs.features.push_back({name, at::randn(batch_sizes)});
    }
    return outputs;
  }

  inline static const std::vector<FeatureShape> kStudent{
      {"layer1", {4, 8, 8}}, {"layer2", {5, 4, 4}}, {"layer3", {6, 2, 2}}, {"pooled", {6}}};
  inline static const std::vector<FeatureShape> kTeachers[] = {
      {{"layer1", {3, 16, 16}}, {"layer2", {4, 8, 8}}, {"layer3", {5, 2, 2}}, {"pooled", {5}}},
      {{"layer1", {3, 8, 8}}, {"layer2", {4, 2, 2}}, {"layer3", {7, 1, 1}}, {"pooled", {7}}}};
};

DistillConfig config_of(const DistillationLossRow& row) {
  DistillConfig config;
  for (const auto& setting : row.settings) config.loss_settings[setting.name] = setting.value;
  return config;
}

TEST(DistillationLoss, ARampIsAWeightThatChanges) {
  Asked asked;
  const Objective objective(12, test::kRamped, config_of(test::kRamped), asked.context, {0, 1});
  const auto total = [&](double epoch) {
    asked.epoch.fill_(epoch);
    return objective.terms(asked.batch, asked.student, asked.epoch).total().item<double>();
  };
  const LossTerms terms = objective.terms(asked.batch, asked.student, asked.epoch);
  const double ce = terms.terms.at(0).value.item<double>(), square = terms.terms.at(1).value.item<double>();
  // --ce-weight .2, --kd-weight .8, the term's own weight .5; epochs are counted from 1 in a ramp over 4.
  for (const auto& [epoch, ramp] :
       {std::pair(0.0, 0.25), std::pair(0.9, 0.25), std::pair(2.5, 0.75), std::pair(9.0, 1.0)})
    EXPECT_NEAR(total(epoch), 0.2 * ce + 0.8 * 0.5 * ramp * square, 1e-5) << epoch;
}

// Smoothing belongs to the cross-entropy: the targets and labels that a loss is shown stay as they are.
TEST(DistillationLoss, LabelsAreSmoothedForTheCrossEntropyAlone) {
  const Asked asked;
  asked.batch.targets.fill_(0).select(1, 2).fill_(1);
  for (const char* name : {"kd", "dkd", "nkd", "rld", "ikl", "sp"}) {
    const DistillationLossRow& row = distillation_loss_registry().at(name);
    Objective objective(12, row, config_of(row), asked.context, {0, 1});
    const LossTerms plain = objective.terms(asked.batch, asked.student, asked.epoch);
    objective.smooth_labels(0.25);
    const LossTerms smoothed = objective.terms(asked.batch, asked.student, asked.epoch);
    ASSERT_EQ(smoothed.terms.size(), plain.terms.size());
    // .75 on class 2 and .25 spread over 4 classes: 3/4 of the plain term and 1/4 of the mean over the classes.
    const at::Tensor uniform = soft_cross_entropy(asked.student.logits, at::full({8, 4}, 0.25));
    const at::Tensor expected = 0.75 * plain.terms[0].value + 0.25 * uniform;
    EXPECT_TRUE(at::allclose(smoothed.terms[0].value, expected, 1e-5)) << name;
    EXPECT_NE(smoothed.terms[0].value.item<float>(), plain.terms[0].value.item<float>()) << name;
    for (std::size_t i = 1; i < plain.terms.size(); ++i)
      EXPECT_TRUE(at::equal(smoothed.terms[i].value, plain.terms[i].value)) << name << ": " << plain.terms[i].name;
  }
}

// Keeps what it was shown of the teachers.
class Seeing final : public DistillationLoss {
 public:
  LossTerms operator()(const DistillationInput& input) const override {
    seen.clear();
    for (const Outputs* teacher : input.teachers) seen.push_back(*teacher);
    return {{{"zero", input.student.logits.sum() * 0, 1}}};
  }
  static inline std::vector<Outputs> seen;
};

const DistillationLossRow kSeeing{
    .name = "seeing",
    .help = "",
    .settings = {},
    .needs = {},
    .make = [](const DistillConfig&, const LossContext&) -> std::unique_ptr<DistillationLoss> {
      return std::make_unique<Seeing>();
    }};

TEST(DistillationLoss, SeesLogitsOverTheTeachersTemperatures) {
  const Asked asked;
  const Batch before = asked.batch;
  for (const bool scales : {true, false}) {
    Objective objective(12, kSeeing, {}, asked.context, {1, 0});
    if (scales) objective.scale_teachers({4, 0.5});
    objective.terms(asked.batch, asked.student, asked.epoch);
    ASSERT_EQ(Seeing::seen.size(), 2U);
    EXPECT_TRUE(at::equal(Seeing::seen[0].logits, asked.batch.teachers[1].logits * (scales ? 0.25 : 1)));
    EXPECT_TRUE(at::equal(Seeing::seen[1].logits, asked.batch.teachers[0].logits * (scales ? 2 : 1)));
    for (const std::size_t i : {0, 1})
      EXPECT_TRUE(Seeing::seen[i].feature("layer3").is_same(asked.batch.teachers[1 - i].feature("layer3")));
    EXPECT_EQ(objective.state().size(), scales ? 1U : 0U);
  }
}

// Students and teachers see the same augmented images, and every loss makes something of them.
TEST(DistillationLoss, EveryLossTrainsOnEveryAugmentation) {
  for (const char* augmentation : {"none", "mixup", "cutmix", "cutout", "augmix"}) {
    SCOPED_TRACE(augmentation);
    const test::TemporaryFolder folder;
    Training training({.augmentation = augmentation, .teachers = 2}, folder / "run");
    training.stream().begin_epoch(0);
    const TeacherQuestions all{{0, {"layer1", "layer2", "layer3", "pooled"}},
                               {1, {"layer1", "layer2", "layer3", "pooled"}}};
    Batch batch = training.stream().batch(0, all);
    EXPECT_EQ(batch.views, std::string(augmentation) == "augmix" ? 3 : 1);
    const at::Tensor shown = batch.images.narrow(0, 0, batch.size());
    for (std::size_t i = 0; i < 2; ++i)
      EXPECT_TRUE(at::equal(teacher_outputs(training.stream().teachers()[i], shown, Precision::kFp32).logits,
                            batch.teachers[i].logits));
    const at::Tensor of_label = batch.targets.gather(1, batch.labels.unsqueeze(1));
    const bool mixes = std::string(augmentation) == "mixup" || std::string(augmentation) == "cutmix";
    EXPECT_EQ((of_label < 1).any().item<bool>(), mixes) << "targets are mixed, labels are those of the first image";
    EXPECT_TRUE(at::allclose(batch.targets.sum(1), at::full({batch.size()}, 1.0)));

    Classifier& model = training.learner().model();
    LossContext context{.classes = 4, .seed = 3, .student = feature_shapes(model, at::zeros({1, 3, 32, 32}))};
    context.teachers.assign(2, context.student);
    context.labels = test::tiny_data().train.labels;
    model.set_training(true);
    for (const auto& row : distillation_loss_registry().rows()) {
      const Objective objective(12, row, config_of(row), context, {0, 1});
      objective.terms(batch, model.forward(batch.images), at::zeros({}, at::kFloat)).total().backward();
      for (const auto& [name, tensor] : model.parameters()) {
        EXPECT_TRUE(tensor.grad().defined() && tensor.grad().isfinite().all().item<bool>()) << row.name << ": " << name;
        tensor.mutable_grad().reset();
      }
    }
  }
}

TEST(DistillationLoss, TheEpochIsFilledBeforeEachStep) {
  const test::TemporaryFolder folder;
  static std::vector<double> seen;
  struct Noting final : DistillationLoss {
    LossTerms operator()(const DistillationInput& input) const override {
      seen.push_back(input.epoch.item<double>());
      return {{{"zero", input.student.logits.sum() * 0, 1}}};
    }
  };
  const DistillationLossRow row{"noting",
                                "",
                                {},
                                {.epoch = true},
                                [](const DistillConfig&, const LossContext&) -> std::unique_ptr<DistillationLoss> {
                                  return std::make_unique<Noting>();
                                }};
  Training training({.teachers = 1, .loss = &row}, folder / "run");
  training.train_until({2, 0});
  ASSERT_EQ(seen.size(), 6U);
  for (std::size_t step = 0; step < 6; ++step) EXPECT_NEAR(seen[step], static_cast<double>(step) / 3, 1e-6);
}

// CutMix pastes images whose every pixel says their class: the label that a loss takes is that of the larger part.
TEST(DistillationLoss, AMixedImagesDominantLabelIsWhatMostOfItShows) {
  constexpr std::int64_t kImages = 64, kSeveral = 5;
  const at::Tensor labels = at::arange(kImages) % kSeveral;
  const at::Tensor images =
      (40 * labels).to(at::kByte).view({kImages, 1, 1, 1}).expand({kImages, 3, 32, 32}).contiguous();
  for (const auto* mode : {"image", "batch"}) {
    AugmentConfig config{.name = "cutmix", .crop_padding = 0, .flip = 0, .rotation = 0, .cutmix_mode = mode};
    const AugmentationContext context{{images, labels}, kSeveral, {{0, 0, 0}, {1, 1, 1}}, config, /*seed=*/3, 8};
    const auto augmentation = make_augmentation(context);
    std::int64_t pasted = 0;
    for (std::int64_t epoch = 0; epoch < 4; ++epoch) {
      augmentation->begin_epoch(epoch);
      for (std::int64_t index = 0; index < kImages / 8; ++index) {
        const Batch batch = augmentation->batch(at::arange(8 * index, 8 * index + 8), index);
        const at::Tensor shown = (batch.images.select(1, 0).flatten(1) * (255.0 / 40)).round();  // each pixel's class
        const at::Tensor area = (shown.unsqueeze(2) == at::arange(kSeveral)).sum(1);
        const at::Tensor dominant = dominant_labels(batch.targets, batch.labels);
        const at::Tensor own = area.gather(1, dominant.to(at::kLong).argmax(1, /*keepdim=*/true));
        EXPECT_TRUE(at::equal(own.squeeze(1), area.amax(1)));
        pasted += (dominant.to(at::kLong).argmax(1) != batch.labels).sum().item<std::int64_t>();
      }
    }
    EXPECT_GT(pasted, 5) << mode;
  }
}

// The operators of a step, with the host's numbers in them.
std::vector<std::string> step_operators(const Objective& objective, Asked& asked, double epoch) {
  asked.epoch.fill_(epoch);
  return test::operators_of([&] { objective.terms(asked.batch, asked.student, asked.epoch).total().backward(); });
}

TEST(DistillationLoss, AsksTheSameOfTheDeviceInEveryStep) {
  Asked asked;
  std::vector<DistillationLossRow> rows = distillation_loss_registry().rows();
  rows.insert(rows.end(), {test::kRamped, test::kHint});
  for (const auto& row : rows) {
    for (const auto& combination : combination_registry().rows()) {
      if (!goes_with(row, combination)) continue;
      DistillConfig config = config_of(row);
      config.kd = combination.name;
      const Objective objective(12, row, config, asked.context, {0, 1});
      step_operators(objective, asked, 0);  // makes gradients
      const auto first = step_operators(objective, asked, 0), later = step_operators(objective, asked, 150.5);
      EXPECT_GT(first.size(), 10U);
      EXPECT_EQ(first, later) << row.name << " with " << combination.name
                              << " would be replayed with the numbers of its first steps";
    }
  }
}

// What the checks above and below are there for.
class HostRamp final : public DistillationLoss {
 public:
  explicit HostRamp(bool as_weight) : as_weight_(as_weight) {}
  LossTerms operator()(const DistillationInput& input) const override {
    const double ramp = input.epoch.item<double>() < 20 ? 0.1 : 1;  // a graph cannot be recorded from this on
    const at::Tensor value = input.student.logits.square().mean();
    if (as_weight_) return {{{"square", value, ramp}}};
    return {{{"square", ramp * value, 1}}};
  }

 private:
  bool as_weight_;
};

template <bool as_weight>
DistillationLossRow host_ramp() {
  return {"host",
          "",
          {},
          {.epoch = true},
          [](const DistillConfig&, const LossContext&) -> std::unique_ptr<DistillationLoss> {
            return std::make_unique<HostRamp>(as_weight);
          }};
}

TEST(DistillationLoss, ANumberOfTheHostThatChangesIsSeen) {
  Asked asked;
  const Objective objective(12, host_ramp<false>(), {}, asked.context, {0});
  step_operators(objective, asked, 0);
  const auto first = step_operators(objective, asked, 0);
  EXPECT_EQ(first, step_operators(objective, asked, 19));
  EXPECT_NE(first, step_operators(objective, asked, 20));
}

TEST(DistillationLoss, AWeightOfTheHostThatChangesIsRefused) {
  Asked asked;
  const Objective objective(12, host_ramp<true>(), {}, asked.context, {0});
  EpochSums sums;
  const auto add = [&](double epoch) {
    asked.epoch.fill_(epoch);
    const LossTerms losses = objective.terms(asked.batch, asked.student, asked.epoch);
    sums.begin_step(0, 8);
    sums.add(losses, losses.total(), 8);
  };
  add(0);
  add(1);
  sums.clear();
  EXPECT_ERROR(add(20), c10::Error, "the weight of the loss term 'square' changed from 0.08 to 0.8");
}

}  // namespace
}  // namespace ekd
