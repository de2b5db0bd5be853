#include "ekd/metrics/metrics.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "ekd/metrics/registry.h"

namespace ekd {
namespace {

void read_number(const nlohmann::json& object, const MetricKey& key, Metrics& metrics) {
  const auto found = object.find(key.metric);
  if (found != object.end() && found->is_number()) metrics.values[key] = found->get<double>();
}

// A number of bins as a key of JSON; 0 where it is none.
int bins_of(const std::string& text) {
  int bins = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), bins);
  return parsed.ec == std::errc{} && parsed.ptr == text.data() + text.size() ? bins : 0;
}

}  // namespace

std::string column_name(const MetricKey& key) {
  return key.bins > 0 ? key.metric + std::to_string(key.bins) : key.metric;
}

std::optional<double> Metrics::find(const MetricKey& key) const {
  const auto found = values.find(key);
  return found == values.end() ? std::nullopt : std::optional(found->second);
}

nlohmann::ordered_json to_json(const Metrics& metrics) {
  std::set<int> bins;
  for (const auto& [key, value] : metrics.values)
    if (key.bins > 0) bins.insert(key.bins);
  nlohmann::ordered_json json = {{"n", metrics.n}}, calibration = nlohmann::ordered_json::object();
  for (const auto& [row, key] : metric_columns({bins.begin(), bins.end()})) {
    const auto value = metrics.find(key);
    if (!value) continue;
    (row->binned ? calibration[std::to_string(key.bins)] : json)[key.metric] = *value;
  }
  json["calibration"] = calibration;
  return json;
}

Metrics metrics_from_json(const nlohmann::json& json) {
  Metrics metrics;
  if (!json.is_object()) return metrics;
  if (json.contains("n") && json["n"].is_number_integer()) metrics.n = json["n"].get<std::int64_t>();
  for (const auto& row : metric_registry().rows())
    if (!row.binned) read_number(json, {row.name}, metrics);
  const auto calibration = json.find("calibration");
  if (calibration == json.end() || !calibration->is_object()) return metrics;
  for (const auto& [text, object] : calibration->items()) {
    const int bins = bins_of(text);
    if (bins < 1 || !object.is_object()) continue;
    for (const auto& row : metric_registry().rows())
      if (row.binned) read_number(object, {row.name, bins}, metrics);
  }
  return metrics;
}

}  // namespace ekd
