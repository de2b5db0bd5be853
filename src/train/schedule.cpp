#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace ekd {
namespace {

// From `from` at t = 0 to `to` at t = 1 along half a cosine.
double cosine_between(double from, double to, double t) {
  const double share = (1 + std::cos(std::numbers::pi * t)) / 2;
  return share * from + (1 - share) * to;
}

double step_factor(const OptimConfig& config, std::int64_t epoch) {
  const auto passed =
      std::ranges::count_if(config.milestones, [&](std::int64_t milestone) { return milestone <= epoch; });
  return std::pow(config.gamma, static_cast<double>(passed));
}

double onecycle_factor(const OptimConfig& config, double t) {
  if (t < config.onecycle_rise) return cosine_between(config.onecycle_start, 1, t / config.onecycle_rise);
  const double falling = 1 - config.onecycle_rise;
  return falling > 0 ? cosine_between(1, config.onecycle_final, (t - config.onecycle_rise) / falling) : 1;
}

}  // namespace

double learning_rate_at(const OptimConfig& config, std::int64_t step, std::int64_t steps_per_epoch) {
  const double t = static_cast<double>(step) / static_cast<double>(config.epochs * steps_per_epoch);
  double factor = 1;
  if (config.schedule == "step") factor = step_factor(config, step / steps_per_epoch);
  if (config.schedule == "cosine") factor = cosine_between(1, 0, t);
  if (config.schedule == "onecycle") factor = onecycle_factor(config, t);
  const double warmup_steps = config.warmup_epochs * static_cast<double>(steps_per_epoch);
  const double ramp = warmup_steps > 0 ? std::min(1.0, (static_cast<double>(step) + 1) / warmup_steps) : 1;
  return config.lr * factor * ramp;
}

}  // namespace ekd
