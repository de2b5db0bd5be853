#include "train/teacher_calibration.h"

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <limits>

#include "ekd/core/error.h"
#include "ekd/data/load.h"
#include "ekd/evaluate/predictions.h"
#include "ekd/metrics/evaluate.h"
#include "ekd/metrics/temperature.h"
#include "ekd/models/registry.h"
#include "tests/support/expect_error.h"

namespace ekd {
namespace {

class TeacherCalibrationTest : public ::testing::Test {
 protected:
  TeacherCalibrationTest() {
    shared_.data =
        load_dataset({.dataset = "synthetic", .train_limit = 8, .test_limit = 8, .classes = 4, .val_size = 40});
    teacher_.model->set_training(false);
    const at::NoGradGuard no_grad;
    for (const auto& [name, tensor] : teacher_.model->parameters())
      if (name.starts_with("linear.")) at::Tensor(tensor).mul_(30);  // sure of what it does not know
  }

  Teacher teacher_{"t", "t.safetensors", "", make_model({.name = "shufflenet_v1", .classes = 4}, 7)};
  SharedSetup shared_;
};

TEST_F(TeacherCalibrationTest, MeasuresAndFitsOnTheValidationSplit) {
  const Predictions said = predict(*teacher_.model, shared_.data.val, {.normalisation = shared_.data.normalisation});
  const auto calibration = calibrate_teacher(teacher_, "fit", shared_);
  EXPECT_EQ(calibration.temperature, static_cast<float>(fit_temperature(said.logits, said.labels).temperature));
  EXPECT_GT(calibration.temperature, 1.5);
  const auto metrics = [&](double t) { return compute_metrics(scaled_logits(said.logits, t), said.labels, {15}); };
  const Metrics raw = metrics(1), scaled = metrics(calibration.temperature);
  EXPECT_EQ(calibration.val, (nlohmann::ordered_json{{"n", 40},
                                                     {"accuracy", raw.at("accuracy")},
                                                     {"nll", raw.at("nll")},
                                                     {"ece15", raw.at("ece", 15)},
                                                     {"nll_scaled", scaled.at("nll")},
                                                     {"ece15_scaled", scaled.at("ece", 15)}}));
  EXPECT_LT(calibration.val["nll_scaled"], calibration.val["nll"]);
}

TEST_F(TeacherCalibrationTest, AsksATeacherOnce) {
  const auto fitted = calibrate_teacher(teacher_, "fit", shared_);
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : teacher_.model->parameters()) at::Tensor(tensor).zero_();
  EXPECT_EQ(calibrate_teacher(teacher_, "fit", shared_).val, fitted.val);
  const auto given = calibrate_teacher(teacher_, "0.25", shared_), none = calibrate_teacher(teacher_, "none", shared_);
  EXPECT_EQ(given.temperature, 0.25);
  EXPECT_GT(given.val["nll_scaled"], fitted.val["nll"]);
  EXPECT_EQ(none.temperature, 1);
  EXPECT_EQ(none.val.size(), 4U);
  EXPECT_EQ(none.val["nll"], fitted.val["nll"]);
}

TEST_F(TeacherCalibrationTest, WithoutAValidationSplitThereIsTheGivenTemperatureAlone) {
  shared_.data.val = {};
  const auto given = calibrate_teacher(teacher_, "3", shared_);
  EXPECT_EQ(given.temperature, 3);
  EXPECT_TRUE(given.val.is_null());
}

TEST_F(TeacherCalibrationTest, AnswersThatAreNotFiniteAreRefused) {
  const at::NoGradGuard no_grad;
  at::Tensor(teacher_.model->parameters().back().tensor).fill_(std::numeric_limits<float>::infinity());
  EXPECT_ERROR(calibrate_teacher(teacher_, "none", shared_), NonFiniteError, "the answers of the teacher 't'");
}

}  // namespace
}  // namespace ekd
