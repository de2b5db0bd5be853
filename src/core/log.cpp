#include "ekd/core/log.h"

#include <fcntl.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "ekd/core/error.h"

namespace ekd {
namespace {

// Progress lines stand bare; what needs attention says so.
class LevelFormatter : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& out) override {
    if (message.level >= spdlog::level::err) {
      append("error: ", out);
    } else if (message.level == spdlog::level::warn) {
      append("warning: ", out);
    }
    out.append(message.payload.begin(), message.payload.end());
    out.push_back('\n');
  }
  std::unique_ptr<spdlog::formatter> clone() const override { return std::make_unique<LevelFormatter>(); }

 private:
  static void append(std::string_view text, spdlog::memory_buf_t& out) {
    out.append(text.data(), text.data() + text.size());
  }
};

std::mutex g_files_mutex;
std::vector<LogFile*> g_files;

thread_local bool t_scoped = false;
thread_local LogFile* t_file = nullptr;

// A console that has gone away is no reason to stop: the log files have the lines.
class ConsoleSink : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t text;
    formatter_->format(message, text);
    std::fwrite(text.data(), 1, text.size(), stderr);
  }
  void flush_() override { std::fflush(stderr); }
};

// Hands each line to the log files it is meant for.
class FilesSink : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t text;
    formatter_->format(message, text);
    const std::lock_guard lock(g_files_mutex);
    for (LogFile* file : g_files)
      if (t_scoped ? file == t_file : file->thread() == std::this_thread::get_id())
        file->append({text.data(), text.size()});
    // A file that cannot be written stops its own run, not the one that logs a line for all: so only within its scope.
    if (t_scoped && t_file != nullptr && !t_file->error().empty()) throw spdlog::spdlog_ex(t_file->error());
  }
  void flush_() override {}
};

}  // namespace

bool stderr_takes_colour() {
  const char* term = std::getenv("TERM");
  const char* no_colour = std::getenv("NO_COLOR");
  return isatty(STDERR_FILENO) == 1 && (no_colour == nullptr || *no_colour == '\0') && term != nullptr &&
         std::string_view(term) != "dumb";
}

void set_up_log(int verbosity) {
  auto console = std::make_shared<ConsoleSink>();
  auto files = std::make_shared<FilesSink>();
  for (spdlog::sink_ptr sink : std::initializer_list<spdlog::sink_ptr>{console, files})
    sink->set_formatter(std::make_unique<LevelFormatter>());
  auto logger = std::make_shared<spdlog::logger>("ekd", spdlog::sinks_init_list{console, files});
  constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::warn, spdlog::level::info, spdlog::level::debug,
                                                   spdlog::level::trace};
  const auto level = kLevels[std::min(std::max(verbosity, -1), 2) + 1];
  console->set_level(level);
  files->set_level(spdlog::level::info);
  logger->set_level(std::min(level, spdlog::level::info));  // files get progress even where the console is quiet
  logger->flush_on(spdlog::level::info);
  logger->set_error_handler([](const std::string& reason) { throw IoError(reason); });  // only files can fail
  spdlog::set_default_logger(logger);
}

LogFile::LogFile(std::string path)
    : path_(std::move(path)), file_(open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
  if (file_ < 0) throw IoError(path_ + ": cannot write the log: " + std::strerror(errno));
  const std::lock_guard lock(g_files_mutex);
  g_files.push_back(this);
}

LogFile::~LogFile() {
  const std::lock_guard lock(g_files_mutex);
  std::erase(g_files, this);
  close(file_);
}

void LogFile::append(std::string_view text) {
  if (!error_.empty()) return;
  const ssize_t written = write(file_, text.data(), text.size());
  if (written >= 0 && written < static_cast<ssize_t>(text.size())) errno = ENOSPC;
  if (written != static_cast<ssize_t>(text.size())) error_ = path_ + ": cannot write the log: " + std::strerror(errno);
}

LogScope::LogScope(LogFile* file) : outer_(t_scoped), outer_file_(t_file) {
  t_scoped = true;
  t_file = file;
}

LogScope::~LogScope() {
  t_scoped = outer_;
  t_file = outer_file_;
}

}  // namespace ekd
