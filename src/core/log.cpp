#include "ekd/core/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string_view>

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

}  // namespace

bool stderr_takes_colour() {
  const char* term = std::getenv("TERM");
  const char* no_colour = std::getenv("NO_COLOR");
  return isatty(STDERR_FILENO) == 1 && (no_colour == nullptr || *no_colour == '\0') && term != nullptr &&
         std::string_view(term) != "dumb";
}

void set_up_log(int verbosity) {
  auto console = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  console->set_formatter(std::make_unique<LevelFormatter>());
  auto logger = std::make_shared<spdlog::logger>("ekd", console);
  constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::warn, spdlog::level::info, spdlog::level::debug,
                                                   spdlog::level::trace};
  const auto level = kLevels[std::min(std::max(verbosity, -1), 2) + 1];
  console->set_level(level);
  logger->set_level(std::min(level, spdlog::level::info));  // the file gets progress even where the console is quiet
  logger->flush_on(spdlog::level::info);
  // Only the run's log file can fail; a run whose record is lost stops like one that cannot save.
  logger->set_error_handler([](const std::string& reason) {
    auto& sinks = spdlog::default_logger()->sinks();
    if (sinks.size() > 1) sinks.resize(1);  // so that the error itself can be told
    throw IoError("cannot write the log: " + reason);
  });
  spdlog::set_default_logger(logger);
}

void log_to_file(const std::string& path) {
  auto& sinks = spdlog::default_logger()->sinks();
  if (sinks.size() > 1) sinks.resize(1);
  if (path.empty()) return;
  try {
    auto file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
    file->set_formatter(std::make_unique<LevelFormatter>());
    file->set_level(spdlog::level::info);
    sinks.push_back(file);
  } catch (const spdlog::spdlog_ex& error) {
    throw IoError(path + ": cannot write the log: " + error.what());
  }
}

}  // namespace ekd
