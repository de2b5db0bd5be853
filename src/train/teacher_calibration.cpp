#include "train/teacher_calibration.h"

#include <algorithm>
#include <string>

#include "ekd/core/error.h"
#include "ekd/evaluate/predictions.h"
#include "ekd/metrics/evaluate.h"
#include "ekd/metrics/temperature.h"

namespace ekd {
namespace {

constexpr int kBins = 15;

// In fp32 and in batches of one size, whatever the run does: runs of a group share these answers.
const Predictions& val_answers(const Teacher& teacher, SharedSetup& shared) {
  const auto known = shared.val_answers.find(teacher.path);
  if (known != shared.val_answers.end()) return known->second;
  const Predictions said =
      predict(*teacher.model, shared.data.val, {.normalisation = teacher.normalisation, .graph = shared.graph});
  if (!said.logits.isfinite().all().item<bool>())
    throw NonFiniteError("the answers of the teacher '" + teacher.name + "' to the validation split are not finite");
  return shared.val_answers[teacher.path] = said;
}

}  // namespace

TeacherCalibration calibrate_teacher(const Teacher& teacher, const std::string& setting, SharedSetup& shared) {
  TeacherCalibration calibration;
  const bool fits = setting == "fit", scales = setting != "none";
  if (scales && !fits) calibration.temperature = static_cast<float>(std::stod(setting));
  if (shared.data.val.size() == 0) return calibration;
  const Predictions& said = val_answers(teacher, shared);
  if (fits) {
    const TemperatureFit fit = fit_temperature(said.logits, said.labels);
    calibration.temperature = static_cast<float>(std::clamp(fit.temperature, 1e-30, 1e30));
    calibration.warning = bound_warning(fit);
  }
  const auto metrics = [&](double temperature) {
    return compute_metrics(scaled_logits(said.logits, temperature), said.labels, {kBins});
  };
  const Metrics raw = metrics(1);
  calibration.val = {
      {"n", raw.n}, {"accuracy", raw.at("accuracy")}, {"nll", raw.at("nll")}, {"ece15", raw.at("ece", kBins)}};
  if (!scales) return calibration;
  const Metrics scaled = metrics(calibration.temperature);
  calibration.val["nll_scaled"] = scaled.at("nll");
  calibration.val["ece15_scaled"] = scaled.at("ece", kBins);
  return calibration;
}

}  // namespace ekd
