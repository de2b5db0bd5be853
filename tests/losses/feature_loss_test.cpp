// What the losses on features promise beyond their arithmetic, which is held against their authors' in
// feature_golden_test.cpp.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include "ekd/losses/distillation.h"
#include "losses/crd.h"
#include "tests/support/expect_error.h"

namespace ekd {
namespace {

constexpr std::int64_t kBatch = 8, kImages = 40, kClasses = 5;
const std::vector<std::string> kRows{"fitnet", "at", "sp", "rkd", "crd", "reviewkd", "itrd"};

std::vector<FeatureShape> shapes_of(const Outputs& outputs) {
  std::vector<FeatureShape> shapes;
  for (const auto& [name, tensor] : outputs.features) shapes.push_back({name, tensor.sizes().slice(1).vec()});
  return shapes;
}

Outputs features(std::vector<std::int64_t> channels, std::int64_t side, double scale = 1) {
  Outputs outputs;
  for (std::size_t i = 0; i < channels.size(); ++i, side /= 2)
    outputs.features.push_back({"stage" + std::to_string(i + 1), scale * at::randn({kBatch, channels[i], side, side})});
  outputs.features.push_back({"pooled", outputs.features.back().tensor.mean(at::IntArrayRef{2, 3})});
  return outputs;
}

// A loss between a student and teachers, with what a training gives it.
struct Pair {
  Outputs student = features({6, 8, 10}, 8);
  std::vector<Outputs> teachers{features({4, 6, 8}, 16)};
  std::vector<std::string> names{"first", "second"};
  std::string kd = "add-loss";
  std::map<std::string, double> settings;
  std::vector<double> weights;
  at::Tensor labels = at::arange(kImages, at::kLong).remainder(kClasses);

  DistillConfig config(const std::string& row) const {
    DistillConfig config{.kd = kd};
    for (const auto& setting : distillation_loss_registry().at(row).settings)
      config.loss_settings[setting.name] = setting.value;
    for (const auto& [key, value] : settings) config.loss_settings.at(key) = value;
    return config;
  }

  LossContext context() const {
    LossContext context{.classes = kClasses, .seed = 7, .labels = labels};
    context.student = shapes_of(student);
    for (const auto& teacher : teachers) context.teachers.push_back(shapes_of(teacher));
    context.teacher_names = names;
    context.teacher_weights = weights;
    return context;
  }

  std::unique_ptr<DistillationLoss> loss(const std::string& row) const {
    return distillation_loss_registry().at(row).make(config(row), context());
  }

  DistillationInput input() const {
    DistillationInput input;
    input.student = student;
    for (const auto& teacher : teachers) input.teachers.push_back(&teacher);
    input.indices = at::arange(kBatch, at::kLong) * 3;
    input.labels = labels.index_select(0, input.indices);
    input.targets = at::one_hot(input.labels, kClasses).to(at::kFloat);
    input.epoch = at::zeros({});
    return input;
  }

  double total(const std::string& row) const { return (*loss(row))(input()).total().item<double>(); }

  void scale(double by) {
    for (auto& feature : student.features) feature.tensor = feature.tensor * by;
  }
};

TEST(FeatureLosses, EqualNetworksHaveNothingToLearn) {
  Pair pair;
  pair.teachers = {pair.student};
  for (const auto* row : {"at", "sp", "rkd"}) EXPECT_EQ(pair.total(row), 0) << row;
}

TEST(FeatureLosses, TheScaleOfTheFeaturesDoesNotMatterWhereOnlyRelationsDo) {
  Pair pair;
  for (const auto* row : {"at", "sp", "rkd"}) {
    const double plain = pair.total(row);
    EXPECT_GT(plain, 0) << row;
    Pair scaled = pair;
    scaled.scale(32);
    EXPECT_NEAR(scaled.total(row), plain, 1e-5 * plain) << row;
  }
}

// Of bfloat16 features the loss is what it is of the same numbers in float32, and nothing of large ones overflows.
TEST(FeatureLosses, LargeNumbersInHalfThePrecision) {
  for (const auto& row : kRows) {
    Pair half, full;
    half.teachers.push_back(features({4, 6, 8}, 16));
    half.scale(1e4);
    for (Outputs* outputs : {&half.student, &half.teachers[0], &half.teachers[1]})
      for (auto& feature : outputs->features) feature.tensor = feature.tensor.to(at::kBFloat16).requires_grad_();
    full.teachers = half.teachers;
    full.student = half.student;
    for (Outputs* outputs : {&full.student, &full.teachers[0], &full.teachers[1]})
      for (auto& feature : outputs->features) feature.tensor = feature.tensor.to(at::kFloat).detach();
    const auto loss = half.loss(row);
    const at::Tensor total = (*loss)(half.input()).total();
    EXPECT_EQ(total.scalar_type(), at::kFloat) << row;
    EXPECT_TRUE(total.isfinite().item<bool>()) << row;
    EXPECT_EQ(total.item<double>(), full.total(row)) << row;
    total.backward();
    bool moved = false;
    for (const auto& [name, tensor] : half.student.features) {
      if (!tensor.grad().defined()) continue;
      EXPECT_EQ(tensor.grad().scalar_type(), at::kBFloat16) << row << ' ' << name;
      EXPECT_TRUE(tensor.grad().isfinite().all().item<bool>()) << row << ' ' << name;
      moved = moved || tensor.grad().abs().max().item<double>() > 0;
    }
    EXPECT_TRUE(moved) << row;
    for (const auto& [name, tensor] : loss->parameters())
      EXPECT_TRUE(tensor.grad().isfinite().all().item<bool>()) << row << ' ' << name;
  }
}

// Images that look the same to the student, and columns that are the same for all images, have a length of 0.
TEST(FeatureLosses, WhatHasNoLengthIsFinite) {
  for (const auto& row : kRows) {
    Pair pair;
    for (auto& feature : pair.student.features) feature.tensor = at::zeros_like(feature.tensor).requires_grad_();
    const auto loss = pair.loss(row);
    const at::Tensor total = (*loss)(pair.input()).total();
    EXPECT_TRUE(total.isfinite().item<bool>()) << row;
    total.backward();
    for (const auto& [name, tensor] : pair.student.features) {
      if (tensor.grad().defined()) {
        EXPECT_LT(tensor.grad().abs().max().item<double>(), 1e6) << row << ' ' << name;
      }
    }
  }
  // One column of the teacher that is dead leaves the others as they are: it adds |0 − 1|^2α to the sum.
  at::manual_seed(11);
  Pair pair, dead;
  dead.student = pair.student;
  dead.teachers = {pair.teachers[0]};
  at::Tensor& pooled = dead.teachers[0].features.back().tensor;
  pooled = pooled.clone();
  pooled.select(1, 0).fill_(0.3);
  const auto sum = [](const Pair& of) {
    at::manual_seed(12);  // the same embedding
    return std::exp2((*of.loss("itrd"))(of.input()).terms.at(0).value.item<double>());
  };
  EXPECT_LT(std::abs(sum(dead) - sum(pair)), 7) << "1 instead of |c − 1|³, which lies in 0 … 8";
  EXPECT_GT(sum(dead), 1);
}

TEST(FeatureLosses, ABatchOfOneImageIsFinite) {
  for (const auto& row : kRows) {
    Pair pair;
    const auto loss = pair.loss(row);
    DistillationInput input = pair.input();
    Outputs teacher = pair.teachers[0];
    for (Outputs* outputs : {&input.student, &teacher})
      for (auto& feature : outputs->features) feature.tensor = feature.tensor.narrow(0, 0, 1);
    input.teachers = {&teacher};
    input.indices = input.indices.narrow(0, 0, 1);
    input.targets = input.targets.narrow(0, 0, 1);
    input.labels = input.labels.narrow(0, 0, 1);
    EXPECT_TRUE((*loss)(input).total().isfinite().item<bool>()) << row;
  }
}

TEST(FeatureLosses, TeachersAddUpOrAreAveraged) {
  Pair both, first, second;
  both.teachers.push_back(features({5, 7, 3}, 8));
  first.student = second.student = both.student;
  first.teachers = {both.teachers[0]};
  second.teachers = {both.teachers[1]};
  for (const auto* row : {"at", "sp", "rkd"}) {
    const double sum = first.total(row) + second.total(row);
    both.kd = "add-loss";
    EXPECT_NEAR(both.total(row), sum, 1e-5 * sum) << row;
    both.kd = "avg-loss";
    EXPECT_NEAR(both.total(row), sum / 2, 1e-5 * sum) << row;
    const double weighted = 3 * first.total(row) + second.total(row);
    both.weights = {3, 1};
    EXPECT_NEAR(both.total(row), weighted / 4, 1e-5 * weighted) << row;
    both.kd = "add-loss";
    EXPECT_NEAR(both.total(row), weighted, 1e-5 * weighted) << row;
    both.weights.clear();
  }
  // Each teacher has projections of its own, of its own width, which start as the seed says.
  for (const auto* row : {"fitnet", "crd", "reviewkd", "itrd"}) {
    const auto loss = both.loss(row), again = both.loss(row);
    std::set<char> teachers;
    for (std::size_t i = 0; i < loss->parameters().size(); ++i) {
      teachers.insert(loss->parameters()[i].name.at(0));
      EXPECT_TRUE(at::equal(loss->parameters()[i].tensor, again->parameters()[i].tensor)) << row;
    }
    EXPECT_EQ(teachers, (std::set<char>{'0', '1'})) << row;
  }
}

TEST(FeatureLosses, TheLargerOfTwoMapsIsPooled) {
  Pair pair;
  const at::Tensor maps = at::randn({2, 3, 12, 8});
  EXPECT_TRUE(at::allclose(average_pooled(maps, 4, 4), at::adaptive_avg_pool2d(maps, {4, 4}), 1e-6, 1e-6));
  EXPECT_TRUE(at::equal(average_pooled(maps, 5, 3), at::adaptive_avg_pool2d(maps, {5, 3})));
  EXPECT_TRUE(average_pooled(maps, 12, 8).is_same(maps));
  Pair pooled, swapped;
  pooled.student = swapped.teachers[0] = pair.student;
  pooled.teachers = {pair.teachers[0]};
  swapped.student = pair.teachers[0];
  for (std::size_t i = 0; i < 3; ++i) {
    at::Tensor& tensor = pooled.teachers[0].features[i].tensor;
    tensor = at::adaptive_avg_pool2d(tensor, pair.student.features[i].tensor.sizes().slice(2));
  }
  const double total = pair.total("at");
  EXPECT_NEAR(pooled.total("at"), total, 1e-6 * total);
  EXPECT_NEAR(swapped.total("at"), total, 1e-6 * total);
}

TEST(FeatureLosses, TheRegressorFitsTheSides) {
  for (const auto& [student, teacher] : {std::pair(8, 8), std::pair(8, 16), std::pair(16, 8), std::pair(10, 7)}) {
    Pair pair;
    pair.settings["fitnet_hint"] = 1;
    pair.student = features({6, 8, 10}, student);
    pair.teachers = {features({4, 6, 8}, teacher)};
    EXPECT_GT(pair.total("fitnet"), 0) << student << " to " << teacher;
  }
  Pair pair;
  pair.teachers = {features({4, 6, 8}, 32)};
  EXPECT_ERROR(pair.loss("fitnet"), UsageError, "the teacher 'first': no convolution leads to its 'stage2'");
}

TEST(FeatureLosses, WhatANetworkLacksIsRefused) {
  Pair pair;
  pair.teachers = {pair.teachers[0], Outputs{}};
  for (const auto* row : {"fitnet", "at", "sp", "reviewkd"})
    EXPECT_ERROR(pair.loss(row), UsageError,
                 std::string("--loss ") + row + ": the teacher 'second' has no feature maps");
  for (const auto* row : {"rkd", "crd", "itrd"})
    EXPECT_ERROR(pair.loss(row), UsageError, "the teacher 'second' has no pooled feature");
  pair.teachers = {features({4, 6}, 16)};
  for (const auto* row : {"at", "reviewkd"})
    EXPECT_ERROR(pair.loss(row), UsageError, "the teacher 'first' and the student differ in their number of stages");
  pair.settings["fitnet_hint"] = 3;
  EXPECT_ERROR(pair.loss("fitnet"), UsageError, "the teacher 'first' has no stage 3, but 2");
  pair.settings["fitnet_hint"] = 4;
  EXPECT_ERROR(pair.loss("fitnet"), UsageError, "--loss fitnet: the student has no stage 4, but 3");
  Pair alike;
  alike.labels = at::zeros(kImages, at::kLong);
  EXPECT_ERROR(alike.loss("crd"), UsageError, "those of other classes, and there are none");
}

TEST(FeatureLosses, ReviewTakesWhatANetworkHasBeforeItsActivation) {
  Pair pair;
  EXPECT_EQ(pair.loss("reviewkd")->teacher_features(0),
            (std::set<std::string>{"stage1", "stage2", "stage3", "pooled"}));
  auto& maps = pair.teachers[0].features;
  maps.push_back({"stage2.preactivation", maps[1].tensor * 2});
  EXPECT_EQ(pair.loss("reviewkd")->teacher_features(0),
            (std::set<std::string>{"stage1", "stage2.preactivation", "stage3", "pooled"}));
  EXPECT_EQ(pair.loss("at")->teacher_features(0), (std::set<std::string>{"stage1", "stage2", "stage3"}));
  EXPECT_EQ(pair.loss("fitnet")->teacher_features(0), std::set<std::string>{"stage2"});
  EXPECT_EQ(pair.loss("sp")->teacher_features(0), std::set<std::string>{"stage3"});
}

TEST(FeatureLosses, ReviewWarmsUp) {
  Pair pair;
  DistillationInput input = pair.input();
  const auto loss = pair.loss("reviewkd");
  const auto total = [&](double epoch) {
    input.epoch = at::tensor(epoch);
    return (*loss)(input).total().item<double>();
  };
  const double whole = total(19);
  for (const auto& [epoch, share] :
       {std::pair(0.0, 0.05), std::pair(0.9, 0.05), std::pair(9.5, 0.5), std::pair(300.0, 1.0)})
    EXPECT_NEAR(total(epoch), share * whole, 1e-5 * whole) << epoch;
}

class Drawing final : public ContrastiveDistillation {
 public:
  using ContrastiveDistillation::ContrastiveDistillation, ContrastiveDistillation::contrast,
      ContrastiveDistillation::Contrast, ContrastiveDistillation::negatives;

  at::Tensor state(const std::string& name) const {
    for (const auto& named : buffers())
      if (named.name == name) return named.tensor;
    return {};
  }
  at::Tensor negatives_of(const DistillationInput& input) const {
    const Contrast drawn = contrast(0, input);
    return drawn.rows.narrow(1, 1, drawn.rows.size(1) - 1)
        .masked_select(drawn.counted.narrow(1, 1, drawn.rows.size(1) - 1))
        .view({input.indices.size(0), -1});
  }
};

TEST(Contrast, NegativesAreDistinctImagesOfOtherClasses) {
  Pair pair;
  pair.settings = {{"crd_negatives", 10}, {"crd_width", 4}};
  const Drawing loss(pair.config("crd"), pair.context());
  DistillationInput input = pair.input();
  // The first image is mixed: most of it shows class 4, of which it is not.
  input.targets[0] = at::tensor({0.4F, 0.0F, 0.0F, 0.0F, 0.6F});
  ASSERT_EQ(loss.negatives(), 10);
  at::Tensor first;
  for (int step = 0; step < 20; ++step) {
    loss.state("0.steps").fill_(step);
    const at::Tensor drawn = loss.negatives_of(input);
    ASSERT_EQ(drawn.sizes(), (std::vector<std::int64_t>{kBatch, 10}));
    EXPECT_TRUE(at::equal(drawn, loss.negatives_of(input))) << "a function of the step";
    for (std::int64_t row = 0; row < kBatch; ++row) {
      std::set<std::int64_t> distinct;
      for (std::int64_t k = 0; k < 10; ++k) distinct.insert(drawn[row][k].item<std::int64_t>());
      EXPECT_EQ(distinct.size(), 10U);
      EXPECT_FALSE(distinct.contains(input.indices[row].item<std::int64_t>()));
      const auto own_class = input.targets[row].argmax().item<std::int64_t>();
      for (const auto image : distinct) EXPECT_NE(image % kClasses, own_class);
    }
    if (step == 0) first = drawn;
  }
  EXPECT_FALSE(at::equal(first, loss.negatives_of(input)));
  LossContext other = pair.context();
  other.seed = 8;
  const Drawing another(pair.config("crd"), other);
  EXPECT_FALSE(at::equal(first, another.negatives_of(input)));
}

TEST(Contrast, EveryImageOfAnotherClassIsAsLikely) {
  Pair pair;
  pair.settings = {{"crd_negatives", 8}, {"crd_width", 4}};
  const Drawing loss(pair.config("crd"), pair.context());
  const DistillationInput input = pair.input();
  constexpr int kSteps = 3000;
  at::Tensor counts = at::zeros({kBatch, kImages});
  for (int step = 0; step < kSteps; ++step) {
    loss.state("0.steps").fill_(step);
    const at::Tensor drawn = loss.negatives_of(input);
    counts.scatter_add_(1, drawn, at::ones_like(drawn, at::kFloat));
  }
  // Of 32 images 8 are drawn: 750 times each, with a deviation of √(3000 · ¼ · ¾) = 23.7; the largest of 256 lies
  // 3.5 deviations off.
  const at::Tensor possible = input.labels.unsqueeze(1) != pair.labels.unsqueeze(0);
  EXPECT_EQ(counts.masked_select(possible.logical_not()).sum().item<double>(), 0);
  const at::Tensor off = (counts.masked_select(possible) - kSteps / 4.0).abs();
  EXPECT_LT(off.max().item<double>(), 5 * 23.7);
  EXPECT_GT(off.max().item<double>(), 1.5 * 23.7) << "a draw spreads; an order that goes round does not";
}

TEST(Contrast, TheSettingIsReducedToWhatTheDataHave) {
  Pair pair;
  EXPECT_EQ(Drawing(pair.config("crd"), pair.context()).negatives(), kImages - kImages / kClasses - 1);
  const DistillationInput input = pair.input();
  EXPECT_EQ(Drawing(pair.config("crd"), pair.context()).negatives_of(input).size(1), kImages - kImages / kClasses - 1);
}

TEST(Contrast, ConstantsAreOfTheFirstBatchAndBanksFollow) {
  Pair pair;
  const Drawing loss(pair.config("crd"), pair.context());
  const DistillationInput input = pair.input();
  const at::Tensor before = loss.state("0.memory_v1").clone();
  EXPECT_EQ(loss.state("0.normalisers").abs().max().item<double>(), 0);
  loss(input);
  const at::Tensor constants = loss.state("0.normalisers").clone(), after = loss.state("0.memory_v1").clone();
  EXPECT_GT(constants.min().item<double>(), 0);
  for (std::int64_t image = 0; image < kImages; ++image) {
    const bool met = (input.indices == image).any().item<bool>();
    EXPECT_EQ(at::equal(before[image], after[image]), !met) << image;
    if (met) {
      EXPECT_NEAR(after[image].norm().item<double>(), 1, 1e-6);
    }
  }
  pair.scale(5);
  loss(pair.input());
  EXPECT_TRUE(at::equal(loss.state("0.normalisers"), constants));
  EXPECT_EQ(loss.state("0.steps").item<int>(), 2);
}

// Where a student's features say which image it is, the embeddings learn to tell it from the others.
TEST(Contrast, LearnsToTellImagesApart) {
  Pair pair;
  pair.settings = {{"crd_negatives", 20}};
  const auto loss = pair.loss("crd");
  const at::Tensor images = at::randn({kImages, 10}), seen_by_teacher = at::matmul(images, at::randn({10, 8}));
  DistillationInput input = pair.input();
  double total = 0;
  for (int step = 0; step < 200; ++step) {
    input.indices = (at::arange(kBatch, at::kLong) * 5 + step).remainder(kImages);
    input.targets = at::one_hot(pair.labels.index_select(0, input.indices), kClasses).to(at::kFloat);
    input.student.features.back().tensor = images.index_select(0, input.indices);
    pair.teachers[0].features.back().tensor = seen_by_teacher.index_select(0, input.indices);
    const at::Tensor value = (*loss)(input).total();
    value.backward();
    total = value.item<double>();
    const at::NoGradGuard no_grad;
    for (const auto& [name, parameter] : loss->parameters()) {
      at::Tensor(parameter).sub_(0.02 * parameter.grad());
      parameter.mutable_grad() = at::Tensor();
    }
  }
  // Of an image that is like all others each side is log(1 + m) + m · log(1 + 1 / m) = 4.
  EXPECT_LT(total, 0.8 * 2 * 3);
}

}  // namespace
}  // namespace ekd
