// What is logged while it lives, "level: text" a line, instead of on the console.
#pragma once

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <sstream>
#include <string>

namespace ekd::test {

class LogText {
 public:
  explicit LogText(spdlog::level::level_enum level) : usual_(spdlog::default_logger()) {
    auto logger = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text_));
    logger->set_pattern("%l: %v");
    logger->set_level(level);
    spdlog::set_default_logger(std::move(logger));
  }
  ~LogText() { spdlog::set_default_logger(usual_); }
  LogText(const LogText&) = delete;
  LogText& operator=(const LogText&) = delete;

  std::string str() const { return text_.str(); }

 private:
  std::ostringstream text_;
  std::shared_ptr<spdlog::logger> usual_;
};

}  // namespace ekd::test
