#include "ekd/core/metrics.h"

#include <nlohmann/json.hpp>
#include <string>

namespace ekd {

nlohmann::ordered_json to_json(const Metrics& metrics) {
  nlohmann::ordered_json calibration = nlohmann::ordered_json::object();
  for (const auto& [bins, at] : metrics.calibration) {
    calibration[std::to_string(bins)] = {{"ece", at.ece},
                                         {"oe", at.oe},
                                         {"mce", at.mce},
                                         {"adaptive_ece", at.adaptive_ece},
                                         {"classwise_ece", at.classwise_ece}};
  }
  return {{"n", metrics.n},       {"accuracy", metrics.accuracy}, {"top5", metrics.top5},
          {"nll", metrics.nll},   {"brier", metrics.brier},       {"mean_confidence", metrics.mean_confidence},
          {"aurc", metrics.aurc}, {"calibration", calibration}};
}

}  // namespace ekd
