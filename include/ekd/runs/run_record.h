// What a run writes down about itself: in run.json where its numbers come from, in metrics.jsonl one JSON object per
// epoch, appended as epochs end.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace ekd {

struct Provenance {
  std::vector<std::string> command_line;
  std::string command;    // "train-teacher"
  std::string compute;    // "cpu, AVX512, 2 threads"
  std::string precision;  // as resolved: "bf16"
  std::string dataset_sha256;
  nlohmann::ordered_json data;  // {"name", "classes", "class_names", "image_shape", "normalisation", "sha256"}
  nlohmann::json teachers = nlohmann::json::array();  // [{"name", "path", "sha256", "temperature", "val"}]
  std::vector<std::string> group;                     // names of the runs that shared its batches; empty: alone
  nlohmann::json overrides;                           // of a plan's row: the settings given over the plan's, by key
};

class RunRecord {
 public:
  // Writes the file with status "running"; a resumed run keeps the times and count of its earlier parts. Throws
  // IoError.
  RunRecord(std::filesystem::path path, const Provenance& provenance);

  // "finished", "stopped", "failed"; with the reason where there is one.
  void end(const std::string& status, const std::string& reason = "");

 private:
  std::filesystem::path path_;
  nlohmann::ordered_json record_;
};

struct RecordedTeacher {
  std::string name, sha256;
  double weight = 1;
  nlohmann::json val;  // its calibration on the validation split, or null
};

// The teachers that a run.json names; none where it is missing or damaged. Throws IoError.
std::vector<RecordedTeacher> recorded_teachers(const std::filesystem::path& path);

// What a run.json says; an empty object where it is missing or damaged. Throws IoError.
nlohmann::json read_run_record(const std::filesystem::path& path);

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
