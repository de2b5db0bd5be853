#include "ekd/runs/run_record.h"

#include <torch/version.h>
#include <unistd.h>

#include <ctime>
#include <string>

#include "ekd/core/atomic_file.h"
#include "ekd/core/strict_json.h"
#include "ekd/version.h"
#include "runs/host.h"

namespace ekd {
namespace {

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
  if (!std::filesystem::exists(path)) return nlohmann::json::object();
  auto old = nlohmann::json::parse(read_text(path), nullptr, /*allow_exceptions=*/false);
  return old.is_object() ? old : nlohmann::json::object();
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
             {"started", old.value("started", utc_now())},
             {"resumed", old.empty() ? 0 : old.value("resumed", 0) + 1},
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
