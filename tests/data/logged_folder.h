// A test's folder, and what was logged meanwhile.
#pragma once

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <sstream>

#include "tests/data/cifar_folder.h"

namespace ekd {

class LoggedFolder : public CifarFolder {
 protected:
  void SetUp() override {
    CifarFolder::SetUp();
    previous_log_ = spdlog::default_logger();
    spdlog::set_default_logger(
        std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log_)));
  }
  void TearDown() override {
    spdlog::set_default_logger(previous_log_);
    CifarFolder::TearDown();
  }

  std::ostringstream log_;

 private:
  std::shared_ptr<spdlog::logger> previous_log_;
};

}  // namespace ekd
