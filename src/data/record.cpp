#include "ekd/data/record.h"

#include <charconv>
#include <cmath>
#include <vector>

namespace ekd {
namespace {

constexpr std::size_t kMostChannels = 3;

// .5071, not 0.50709998607635498.
double shortest_decimal(float number) {
  char text[32];
  const auto written = std::to_chars(text, text + sizeof text, number);
  double decimal = 0;
  std::from_chars(text, written.ptr, decimal);
  return decimal;
}

template <class Numbers>
std::vector<double> decimals(const Numbers& numbers, std::int64_t channels) {
  std::vector<double> list;
  for (std::size_t c = 0; c < static_cast<std::size_t>(channels); ++c) list.push_back(shortest_decimal(numbers.at(c)));
  return list;
}

}  // namespace

nlohmann::ordered_json normalisation_json(const Normalisation& normalisation, std::int64_t channels) {
  return {{"mean", decimals(normalisation.mean, channels)}, {"std", decimals(normalisation.std, channels)}};
}

std::optional<Normalisation> normalisation_from(const nlohmann::json& json) {
  const auto list = [&](const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_array() ? *found : nlohmann::json::array();
  };
  const nlohmann::json mean = list("mean"), std = list("std");
  if (mean.empty() || mean.size() > kMostChannels || std.size() != mean.size()) return std::nullopt;
  Normalisation normalisation = Normalisation::plain();
  for (std::size_t c = 0; c < mean.size(); ++c) {
    if (!mean[c].is_number() || !std[c].is_number()) return std::nullopt;
    normalisation.mean.at(c) = mean[c].get<float>();
    normalisation.std.at(c) = std[c].get<float>();
    if (!(std::abs(normalisation.mean.at(c)) <= 1) || !(normalisation.std.at(c) > 0)) return std::nullopt;
  }
  return normalisation;
}

nlohmann::ordered_json dataset_json(const Dataset& data) {
  const auto shape = data.train.images.sizes().slice(1);
  return {{"name", data.name},
          {"classes", data.classes},
          {"class_names", data.class_names},
          {"image_shape", shape.vec()},
          {"normalisation", normalisation_json(data.normalisation, shape[0])},
          {"sha256", data.sha256}};
}

}  // namespace ekd
