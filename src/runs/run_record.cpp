#include "ekd/runs/run_record.h"

#include <fcntl.h>
#include <torch/version.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/field.h"
#include "ekd/core/strict_json.h"
#include "ekd/runs/run_dir.h"
#include "ekd/version.h"

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

// A whole line; nothing where a crash cut it off or somebody edited it so that it is none.
std::optional<nlohmann::ordered_json> read_line(std::string_view text) {
  try {
    parse_strict_json(text);
  } catch (const JsonError&) {
    return std::nullopt;
  }
  auto line = nlohmann::ordered_json::parse(text);  // in its own order
  if (!line.is_object() || !line.contains("epoch") || !line["epoch"].is_number_integer()) return std::nullopt;
  const auto epoch = line["epoch"].get<double>();
  return epoch >= 0 && epoch <= kMaxCount ? std::optional(std::move(line)) : std::nullopt;
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
      teachers.push_back({teacher.at("name"), teacher.at("sha256"), teacher.value("weight", 1.0),
                          teacher.value("val", nlohmann::json())});
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
             {"data", provenance.data},
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

std::vector<nlohmann::ordered_json> read_metrics(const std::filesystem::path& path) {
  std::vector<nlohmann::ordered_json> lines;
  if (!path_exists(path)) return lines;
  const std::string text = read_text(path);
  std::string_view rest(text);
  for (auto end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
    if (auto line = read_line(rest.substr(0, end))) lines.push_back(*std::move(line));
    rest.remove_prefix(end + 1);
  }
  return lines;
}

MetricLog::MetricLog(std::filesystem::path path, std::int64_t first_epoch) : path_(std::move(path)) {
  std::string kept;
  for (const auto& line : read_metrics(path_))
    if (line["epoch"].get<std::int64_t>() < first_epoch) kept += line.dump() + "\n";
  write_file_atomically(path_, kept);
}

void MetricLog::append(const nlohmann::ordered_json& line) {
  const std::string text = line.dump() + "\n";
  const int fd = open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd < 0) throw IoError(path_.string() + ": cannot open: " + std::strerror(errno));
  const off_t before = lseek(fd, 0, SEEK_END);
  const ssize_t written = write(fd, text.data(), text.size());
  if (written >= 0 && written < static_cast<ssize_t>(text.size())) errno = ENOSPC;
  const bool complete = written == static_cast<ssize_t>(text.size()) && fsync(fd) == 0;
  const std::string reason = std::strerror(errno);
  const bool restored = complete || ftruncate(fd, before) == 0;
  close(fd);
  if (!complete) {
    throw IoError(path_.string() + ": cannot write: " + reason + " (" + std::to_string(text.size()) + " bytes needed)" +
                  (restored ? "" : "; its last line is cut off"));
  }
}

}  // namespace ekd
