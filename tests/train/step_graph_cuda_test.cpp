// Steps as CUDA graphs, on streams of their own, give the bits of steps that are launched one by one.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>

#include <array>
#include <limits>
#include <thread>

#include "ekd/core/branches.h"
#include "ekd/core/device.h"
#include "ekd/core/step_graph.h"
#include "tests/support/log_text.h"
#include "tests/train/test_losses.h"
#include "tests/train/training_fixture.h"

namespace ekd {
namespace {

using test::Training;
using test::TrainingSpec;
using ::testing::HasSubstr;
using ::testing::Not;

// Five epochs: 10 steps of 8 images and 5 of 6, so that both sizes are replayed.
TrainingSpec on_cuda(TrainingSpec spec, bool graph) {
  spec.epochs = 5;
  spec.device = at::Device(at::kCUDA, 0);
  spec.graph = graph;
  return spec;
}

class CudaGraphs : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = cuda_unavailable_reason(); !reason.empty()) GTEST_SKIP() << reason;
    set_deterministic(true);
  }
  void TearDown() override {
    at::globalContext().setDeterministicAlgorithms(false, false);
    at::globalContext().setDeterministicCuDNN(false);
  }

  // Trains with graphs and states that there were some.
  static void train_with_graphs(Training& training, bool teachers) {
    const test::LogText log(spdlog::level::debug);
    test::train_to_the_end(training.stream(), {&training.learner()});
    const std::string name = training.learner().folder();
    EXPECT_THAT(log.str(), HasSubstr(name + ": recorded as a CUDA graph for 8 images"));
    EXPECT_THAT(log.str(), HasSubstr(name + ": recorded as a CUDA graph for 6 images"));
    EXPECT_THAT(log.str(), HasSubstr("evaluation: recorded as a CUDA graph for 8 images"));
    if (teachers) {
      EXPECT_THAT(log.str(), HasSubstr("teachers: recorded as a CUDA graph for 6 images"));
    }
    EXPECT_THAT(log.str(), Not(HasSubstr("goes on without")));
  }

  test::TemporaryFolder folder_;
};

class CudaGraphCase : public CudaGraphs, public ::testing::WithParamInterface<std::pair<const char*, TrainingSpec>> {};

TEST_P(CudaGraphCase, EqualsStepsLaunchedOneByOne) {
  const TrainingSpec spec = GetParam().second;
  Training plain(on_cuda(spec, false), folder_ / "plain"), graphs(on_cuda(spec, true), folder_ / "graphs");
  test::train_to_the_end(plain.stream(), {&plain.learner()});
  train_with_graphs(graphs, spec.teachers > 0);
  test::expect_same_runs(plain, graphs);
}

TEST_P(CudaGraphCase, CutOffAndGoneOnEqualsWhole) {
  const TrainingSpec spec = on_cuda(GetParam().second, true);
  Training whole(spec, folder_ / "whole");
  train_with_graphs(whole, spec.teachers > 0);
  {
    Training first(spec, folder_ / "cut");
    first.train_until({3, 2});
    first.learner().save_checkpoint();
  }
  Training second(spec, folder_ / "cut");
  test::train_to_the_end(second.stream(), {&second.learner()});
  test::expect_same_runs(whole, second);
}

using Case = std::pair<const char*, TrainingSpec>;

INSTANTIATE_TEST_SUITE_P(
    Trainings, CudaGraphCase,
    ::testing::Values(
        Case("wrn", {.model = "wrn_40_2"}), Case("shufflenet", {}), Case("augmix", {.augmentation = "augmix"}),
        Case("bf16", {.augmentation = "mixup", .precision = Precision::kBf16}),
        Case("wrn_bf16", {.model = "wrn_40_2", .precision = Precision::kBf16}),
        Case("distilled", {.augmentation = "cutmix", .teachers = 2}),
        Case("distilled_bf16", {.teachers = 2, .precision = Precision::kBf16}),
        Case("distilled_four_bf16", {.teachers = 4, .precision = Precision::kBf16}),
        Case("distilled_ramped", {.teachers = 2, .loss = &test::kRamped}),
        Case("distilled_hint", {.teachers = 2, .loss = &test::kHint}),
        Case("distilled_scaled", {.teachers = 2, .ema = 0.2, .teacher_temperatures = {0.5, 3}}),
        Case("averaged_bf16", {.precision = Precision::kBf16, .ema = 0.9}),
        Case("adamw", {.optimizer = "adamw", .clip_norm = 1}),
        Case("adamw_bf16", {.precision = Precision::kBf16, .ema = 0.9, .optimizer = "adamw"}),
        Case("adamw_clipped_bf16", {.model = "wrn_40_2",
                                    .precision = Precision::kBf16,
                                    .optimizer = "adamw",
                                    .clip_norm = 0.5,
                                    .label_smoothing = 0.1}),
        Case(
            "adamw_hint_bf16",
            {.teachers = 2, .precision = Precision::kBf16, .loss = &test::kHint, .optimizer = "adamw", .clip_norm = 1}),
        Case("clipped", {.augmentation = "mixup", .clip_norm = 0.5}),
        Case("clipped_bf16",
             {.augmentation = "augmix", .precision = Precision::kBf16, .clip_norm = 0.5, .label_smoothing = 0.1})),
    [](const auto& test_info) { return test_info.param.first; });

TEST_F(CudaGraphs, StudentsOnStreamsTrainAsIfAlone) {
  std::vector<std::unique_ptr<Training>> alone, shared;
  std::vector<Learner*> learners;
  for (const double lr : {0.002, 0.001, 0.004}) {
    const TrainingSpec spec = on_cuda({.augmentation = "mixup", .teachers = 2, .lr = lr}, true);
    const std::string name = std::to_string(alone.size());
    alone.push_back(std::make_unique<Training>(spec, folder_ / ("alone" + name)));
    test::train_to_the_end(alone.back()->stream(), {&alone.back()->learner()});
    shared.push_back(std::make_unique<Training>(spec, folder_ / ("shared" + name)));
    learners.push_back(&shared.back()->learner());
  }
  shared[2]->train_until({0, 2});  // ahead: it waits for the others
  test::train_to_the_end(shared[0]->stream(), learners);
  for (std::size_t i = 0; i < shared.size(); ++i) test::expect_same_runs(*alone[i], *shared[i]);
}

// A batch of one label whose image is `value`.
Batch batch_of(double value) {
  Batch batch;
  const auto on = at::TensorOptions().device(at::kCUDA);
  batch.images = at::full({1, 3, 2, 2}, value, on.dtype(at::kFloat));
  batch.labels = at::zeros({1}, on.dtype(at::kLong));
  return batch;
}

TEST_F(CudaGraphs, ReplaysNameTheFirstBadStep) {
  EpochSums sums(at::Device(at::kCUDA, 0));
  StepGraph steps(at::Device(at::kCUDA, 0), true, "test");
  for (std::int64_t step = 0; step < 8; ++step) {
    const double value = step < 6 ? static_cast<double>(step) : std::numeric_limits<double>::infinity();
    steps.run(batch_of(value), {1},
              {[&] { sums.begin_step(step, 1); },
               [&](const Batch& batch) {
                 const LossTerms losses{{{"ce", batch.images.mean(), 1}}};
                 sums.add(losses, losses.total(), 1);
               }});
  }
  steps.join();
  EXPECT_EQ(sums.first_non_finite().step, 6);
  EXPECT_EQ(sums.first_non_finite().term, "ce");
}

// 0 + 1 + … + 5, by steps that read a number back where `impossible`.
float sum_of_steps(const std::string& name, bool impossible) {
  const at::Device device(at::kCUDA, 0);
  const at::Tensor sum = at::zeros({}, at::TensorOptions().device(device).dtype(at::kFloat));
  StepGraph steps(device, true, name);
  for (int i = 0; i < 6; ++i)
    steps.run(batch_of(i), {1},
              {[] {},
               [&](const Batch& batch) {
                 const at::Tensor mean = batch.images.mean();
                 if (impossible) mean.item<float>();
                 sum.add_(mean);
               }});
  steps.join();
  return sum.item<float>();
}

TEST_F(CudaGraphs, AFailedRecordingLeavesNothingBehind) {
  const test::LogText log(spdlog::level::debug);
  EXPECT_EQ(sum_of_steps("impossible", true), 15);
  EXPECT_EQ(sum_of_steps("possible", false), 15);
  EXPECT_THAT(log.str(), HasSubstr("warning: impossible: goes on without CUDA graphs"));
  EXPECT_THAT(log.str(), HasSubstr("debug: possible: recorded as a CUDA graph for 1 images"));
}

TEST_F(CudaGraphs, BranchesAreJoinedAlsoWhereOneFails) {
  const test::LogText log(spdlog::level::debug);
  const at::Device device(at::kCUDA, 0);
  for (const bool impossible : {true, false}) {
    const at::Tensor sums = at::zeros({3}, at::TensorOptions().device(device).dtype(at::kFloat));
    StepGraph steps(device, true, impossible ? "impossible" : "possible");
    for (int i = 0; i < 6; ++i)
      steps.run(batch_of(i), {1},
                {[] {},
                 [&](const Batch& batch) {
                   std::vector<std::function<void()>> works;
                   for (int k = 0; k < 3; ++k)
                     works.emplace_back([&, k] {
                       const at::Tensor mean = batch.images.mean();
                       if (impossible && k == 1) mean.item<float>();
                       sums[k].add_(mean * (k + 1));
                     });
                   run_branches(device, works);
                 }});
    steps.join();
    for (int k = 0; k < 3; ++k) EXPECT_EQ(sums[k].item<float>(), 15 * (k + 1)) << k;
  }
  EXPECT_THAT(log.str(), HasSubstr("warning: impossible: goes on without CUDA graphs"));
  EXPECT_THAT(log.str(), HasSubstr("debug: possible: recorded as a CUDA graph for 1 images"));
}

TEST_F(CudaGraphs, ThreadsRecordBesideEachOther) {
  const test::LogText log(spdlog::level::debug);
  std::array<float, 8> sums{};
  {
    std::vector<std::jthread> threads;
    for (float& sum : sums) threads.emplace_back([&sum] { sum = sum_of_steps("thread", false); });
  }
  EXPECT_THAT(sums, testing::Each(15));
  EXPECT_THAT(log.str(), Not(HasSubstr("goes on without")));
}

}  // namespace
}  // namespace ekd
