// run.json: where a run's numbers come from.
#pragma once

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
  nlohmann::json teachers = nlohmann::json::array();  // [{"name", "path", "sha256"}]
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
};

// The teachers that a run.json names; none where it is missing or damaged. Throws IoError.
std::vector<RecordedTeacher> recorded_teachers(const std::filesystem::path& path);

// What a run.json says; an empty object where it is missing or damaged. Throws IoError.
nlohmann::json read_run_record(const std::filesystem::path& path);

}  // namespace ekd
