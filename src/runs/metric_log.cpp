#include "ekd/runs/metric_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/field.h"
#include "ekd/core/strict_json.h"

namespace ekd {
namespace {

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
