// metrics.jsonl: one JSON object per epoch, appended as epochs end.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

namespace ekd {

class MetricLog {
 public:
  // Keeps the lines of epochs before `first_epoch` (a resumed run writes the others again); a line that was cut off by
  // a crash goes. Throws IoError.
  MetricLog(std::filesystem::path path, std::int64_t first_epoch);

  // Throws IoError; then the file ends with the line before.
  void append(const nlohmann::ordered_json& line);

 private:
  std::filesystem::path path_;
};

// The complete lines of a metrics file; empty where there is none.
std::vector<nlohmann::ordered_json> read_metrics(const std::filesystem::path& path);

}  // namespace ekd
