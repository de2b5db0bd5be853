#include <ATen/TensorOperators.h>

#include <cmath>

#include "ekd/core/error.h"
#include "ekd/core/signals.h"
#include "ekd/evaluate/model_file.h"
#include "ekd/runs/run_record.h"
#include "ekd/train/fit.h"
#include "tests/support/expect_error.h"
#include "tests/train/training_fixture.h"

namespace ekd {
namespace {

using test::Training;
using test::TrainingSpec;

TEST(Fit, LearnersOnOneStreamTrainAsIfAlone) {
  const test::TemporaryFolder folder;
  const TrainingSpec one{.augmentation = "mixup", .lr = 0.002}, other{.augmentation = "mixup", .lr = 0.001};
  Training alone_one(one, folder / "a"), alone_other(other, folder / "b");
  test::train_to_the_end(alone_one.stream(), {&alone_one.learner()});
  test::train_to_the_end(alone_other.stream(), {&alone_other.learner()});

  Training shared_one(one, folder / "c"), shared_other(other, folder / "d");
  shared_other.train_until({0, 2});  // ahead: it waits for the other
  test::train_to_the_end(shared_one.stream(), {&shared_one.learner(), &shared_other.learner()});
  test::expect_same_bits(alone_one.learner().model(), shared_one.learner().model());
  test::expect_same_bits(alone_other.learner().model(), shared_other.learner().model());
}

// A network can memorise one small batch.
class Overfit : public ::testing::TestWithParam<TrainingSpec> {};

TEST_P(Overfit, OneBatch) {
  const test::TemporaryFolder folder;
  Training training(GetParam(), folder / "run");
  training.stream().begin_epoch(0);
  const Batch batch = training.stream().batch(0);
  for (int step = 0; step < 25; ++step) training.learner().train_step(batch);
  training.learner().finish_epoch();
  training.learner().wait_for_saving();
  const double mean_ce = read_metrics(training.dir().metrics()).at(0).at("train_ce").get<double>();
  EXPECT_LT(mean_ce, 0.8);  // over all steps, the first of which has about log 4 = 1.39
}

INSTANTIATE_TEST_SUITE_P(Networks, Overfit,
                         ::testing::Values(TrainingSpec{.model = "shufflenet_v1", .schedule = "constant", .lr = 0.005},
                                           TrainingSpec{.model = "wrn_40_2", .schedule = "constant", .lr = 0.05},
                                           TrainingSpec{.model = "shufflenet_v1",
                                                        .schedule = "constant",
                                                        .lr = 0.002,
                                                        .optimizer = "adamw",
                                                        .clip_norm = 5}),
                         [](const auto& test_info) { return test_info.param.model + "_" + test_info.param.optimizer; });

TEST(Fit, NonFiniteLossStopsAndKeepsTheCheckpoint) {
  const test::TemporaryFolder folder;
  Training training({.lr = 1e30}, folder / "run");
  training.train_until({0, 1});
  EXPECT_ERROR(training.train_until({1, 0}), NonFiniteError, "the loss term 'ce' is not finite at epoch 1/2, step 2/");
  EXPECT_FALSE(std::filesystem::exists(training.dir().checkpoint()));
  EXPECT_THROW(training.learner().save_checkpoint(), NonFiniteError);
}

TEST(Fit, WhatGoesWrongWithASaveIsToldByWhatComesNext) {
  const test::TemporaryFolder folder;
  Training training({.epochs = 3}, folder / "run");
  std::filesystem::create_directory(training.dir().checkpoint());
  training.train_until({1, 0});
  EXPECT_ERROR(training.train_until({2, 0}), IoError, "cannot write: is a folder");
}

TEST(Fit, AStopBetweenEpochsWaitsForTheLastSave) {
  const test::TemporaryFolder folder;
  Training training({.epochs = 3}, folder / "run");
  std::filesystem::create_directory(training.dir().checkpoint());
  training.train_until({1, 0});
  set_stop_deadline(std::chrono::steady_clock::now());
  const FitResult result = fit(training.stream(), {&training.learner()}, ProgressStyle::kNone);
  set_stop_deadline(std::chrono::steady_clock::time_point::max());
  ASSERT_TRUE(result.failures.at(0));
  EXPECT_EQ(result.failures[0]->code, ExitCode::kIo);
}

// A loss whose value is finite in the first step, and whose gradient has about this many digits.
template <int exponent>
DistillationLossRow steep() {
  struct Steep final : DistillationLoss {
    LossTerms operator()(const DistillationInput& input) const override {
      return {{{"steep", (input.student.logits * std::pow(10.0, exponent)).mean(), 1}}};
    }
  };
  return {"steep", "", {}, {}, [](const DistillConfig&, const LossContext&) -> std::unique_ptr<DistillationLoss> {
            return std::make_unique<Steep>();
          }};
}

// The squares of such gradients overflow: every later step would be 0, and weights stay finite.
TEST(Fit, AdamWsAveragesAreFiniteOrNothingIsSaved) {
  const test::TemporaryFolder folder;
  const DistillationLossRow row = steep<24>();
  Training training({.teachers = 1, .loss = &row, .optimizer = "adamw"}, folder / "run");
  training.train_until({0, 1});
  EXPECT_ERROR(training.learner().save_checkpoint(), NonFiniteError,
               "the optimiser's averages are not finite after epoch 1/2, step 1/3");
  EXPECT_FALSE(std::filesystem::exists(training.dir().checkpoint()));
}

TEST(Fit, ANormOfGradientsThatIsNotFiniteStops) {
  const test::TemporaryFolder folder;
  const DistillationLossRow row = steep<36>();
  Training training({.teachers = 1, .loss = &row, .clip_norm = 1}, folder / "run");
  EXPECT_ERROR(training.train_until({0, 1}), NonFiniteError,
               "the norm of the gradients is not finite at epoch 1/2, step 1/3");
}

TEST(Fit, TheNormOfTheGradientsIsLoggedWhereItIsClipped) {
  const test::TemporaryFolder folder;
  Training plain({.epochs = 1}, folder / "plain"), wide({.epochs = 1, .clip_norm = 1e6}, folder / "wide");
  for (auto* training : {&plain, &wide}) training->train_until({1, 0});
  test::expect_same_bits(plain.learner().model(), wide.learner().model());
  const auto without = read_metrics(plain.dir().metrics()).at(0), with = read_metrics(wide.dir().metrics()).at(0);
  EXPECT_FALSE(without.contains("grad_norm"));
  EXPECT_GT(with.at("grad_norm").get<double>(), 0.01);
  EXPECT_EQ(with.at("train_loss"), without.at("train_loss"));
}

TEST(Fit, ALearnerThatFailsIsAValueAndLeavesTheOthers) {
  const test::TemporaryFolder folder;
  Training good({}, folder / "good"), diverging({.lr = 1e30}, folder / "diverging");
  std::vector<std::size_t> told;
  const FitResult result = fit(good.stream(), {&diverging.learner(), &good.learner()}, ProgressStyle::kNone,
                               [&](std::size_t index, const Failure&) {
                                 told.push_back(index);
                                 EXPECT_LT(good.learner().position().epoch, 1) << "at once";
                               });
  EXPECT_EQ(result.stopped, 0);
  EXPECT_EQ(told, (std::vector<std::size_t>{0}));
  ASSERT_EQ(result.failures.size(), 2U);
  ASSERT_TRUE(result.failures[0]);
  EXPECT_EQ(result.failures[0]->code, ExitCode::kNonFinite);
  EXPECT_THAT(result.failures[0]->message, ::testing::HasSubstr("'ce' is not finite at epoch 1/2, step 2/"));
  EXPECT_FALSE(result.failures[1]);
  EXPECT_TRUE(good.learner().finished());
}

TEST(Fit, BestIsSavedByValue) {
  const test::TemporaryFolder folder;
  Training training({.epochs = 3}, folder / "run");
  training.train_until({1, 0});
  ASSERT_EQ(training.learner().best().epoch, 0);
  const at::Tensor kept = training.learner().best().weights.at(0).tensor.clone();
  training.stream().begin_epoch(1);
  training.learner().train_step(training.stream().batch(0));
  EXPECT_TRUE(at::equal(training.learner().best().weights.at(0).tensor, kept));
  EXPECT_FALSE(at::equal(model_state(training.learner().model()).at(0).tensor, kept));
}

}  // namespace
}  // namespace ekd
