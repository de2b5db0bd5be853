#include "ekd/runs/run_record.h"

#include <torch/version.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <string>

#include "ekd/core/atomic_file.h"
#include "ekd/core/strict_json.h"
#include "ekd/version.h"
#include "runs/host.h"

namespace ekd {
namespace {

constexpr int kMostResumes = 1'000'000;  // somebody may have edited the file

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace

nlohmann::json read_run_record(const std::filesystem::path& path) {
  if (!path_exists(path)) return nlohmann::json::object();
  try {
    auto old = parse_strict_json(read_text(path));
    if (old.is_object()) return old;
  } catch (const JsonError&) {
  }
  return nlohmann::json::object();
}

std::vector<RecordedTeacher> recorded_teachers(const std::filesystem::path& path) {
  std::vector<RecordedTeacher> teachers;
  try {
    for (const auto& teacher : read_run_record(path).value("teachers", nlohmann::json::array()))
      teachers.push_back({teacher.at("name"), teacher.at("sha256")});
  } catch (const nlohmann::json::exception&) {
    return {};
  }
  return teachers;
}

RunRecord::RunRecord(std::filesystem::path path, const Provenance& provenance) : path_(std::move(path)) {
  const nlohmann::json old = read_run_record(path_);
  record_ = {{"command", provenance.command},
             {"command_line", provenance.command_line},
             {"status", "running"},
             {"version", EKD_VERSION},
             {"git_commit", EKD_GIT_COMMIT},
             {"libtorch", TORCH_VERSION},
             {"compute", provenance.compute},
             {"precision", provenance.precision},
             {"host", host_name()},
             {"pid", getpid()},
             {"dataset_sha256", provenance.dataset_sha256},
             {"teachers", provenance.teachers},
             {"group", provenance.group},
             {"overrides", provenance.overrides},
             {"started", value_or(old, "started", utc_now())},
             {"resumed", old.empty() ? 0 : std::min(value_or(old, "resumed", 0), kMostResumes) + 1},
             {"updated", utc_now()}};
  write_file_atomically(path_, json_text(record_, 2) + "\n");
}

void RunRecord::end(const std::string& status, const std::string& reason) {
  record_["status"] = status;
  if (!reason.empty()) record_["reason"] = reason;
  record_["updated"] = utc_now();
  write_file_atomically(path_, json_text(record_, 2) + "\n");
}

}  // namespace ekd
