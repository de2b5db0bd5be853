#include "ekd/train/teacher_pass.h"

#include <ATen/Context.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "ekd/core/device.h"
#include "ekd/models/registry.h"
#include "tests/support/log_text.h"

namespace ekd {
namespace {

Teacher teacher_of(const std::string& model, std::uint64_t seed, at::Device device) {
  Teacher teacher{model, "", "", make_model({.name = model, .classes = 5}, seed)};
  teacher.model->set_training(false);
  teacher.model->to(device);
  return teacher;
}

// More batches than a recording needs, of two sizes, with two sets of questions. All answers are kept to the end: those
// of a batch must not be overwritten by the next.
void expect_answers_of_each_alone(at::Device device) {
  const std::vector<Teacher> teachers{teacher_of("shufflenet_v1", 1, device), teacher_of("wrn_16_1", 2, device),
                                      teacher_of("resnet8", 3, device)};
  const TeacherQuestions all{{0, {"layer3"}}, {1, {}}, {2, {}}}, some{{0, {}}, {2, {}}};
  TeacherPass pass(teachers, Precision::kFp32, device, /*graph=*/true);
  std::vector<std::vector<Outputs>> got, expected;
  for (int batch = 0; batch < 12; ++batch)
    for (const auto* questions : {&all, &some}) {
      const at::Tensor images = at::randn({batch % 2 == 0 ? 4 : 3, 3, 32, 32}).to(device);
      got.push_back(pass.answers(images, *questions));
      expected.emplace_back(teachers.size());
      for (const auto& [index, features] : *questions)
        expected.back()[index] = teacher_outputs(teachers[index], images, Precision::kFp32, features);
    }
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i][1].logits.defined(), i % 2 == 0);
    for (std::size_t k = 0; k < teachers.size(); ++k) {
      ASSERT_EQ(got[i][k].features.size(), expected[i][k].features.size());
      if (expected[i][k].logits.defined()) {
        EXPECT_TRUE(got[i][k].logits.equal(expected[i][k].logits)) << i << ", " << k;
      }
      for (std::size_t f = 0; f < got[i][k].features.size(); ++f)
        EXPECT_TRUE(got[i][k].features[f].tensor.equal(expected[i][k].features[f].tensor)) << i << ", " << k;
    }
  }
}

TEST(TeacherPass, AnswersAsEachTeacherAlone) { expect_answers_of_each_alone(at::kCPU); }

TEST(TeacherPass, AnswersAsEachTeacherAloneOnCuda) {
  if (const std::string reason = cuda_unavailable_reason(); !reason.empty()) GTEST_SKIP() << reason;
  set_deterministic(true);  // one algorithm for the recorded and the plain passes
  const test::LogText log(spdlog::level::debug);
  expect_answers_of_each_alone({at::kCUDA, 0});
  EXPECT_NE(log.str().find("teachers: recorded as a CUDA graph for 4 images"), std::string::npos);
  EXPECT_EQ(log.str().find("goes on without"), std::string::npos);
  at::globalContext().setDeterministicAlgorithms(false, false);
  at::globalContext().setDeterministicCuDNN(false);
}

}  // namespace
}  // namespace ekd
