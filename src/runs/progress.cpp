#include "ekd/runs/progress.h"

#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>

#include "ekd/core/log.h"

namespace ekd {
namespace {

constexpr std::chrono::milliseconds kRedraw{200};
constexpr std::chrono::seconds kLineEvery{30};
constexpr int kBarWidth = 24;

double seconds_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace

ProgressStyle resolve_progress(const std::string& text) {
  if (text == "none") return ProgressStyle::kNone;
  if (text == "lines") return ProgressStyle::kLines;
  if (text == "bar") return ProgressStyle::kBar;
  return stderr_takes_colour() ? ProgressStyle::kBar : ProgressStyle::kLines;
}

std::string duration_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(seconds + 0.5);
  if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

Progress::Progress(ProgressStyle style, std::int64_t total_steps, std::int64_t done_steps)
    : style_(style), total_steps_(total_steps), first_step_(done_steps), drawn_(start_) {}

Progress::~Progress() { clear(); }

double Progress::images_per_second() const {
  const double seconds = seconds_between(start_, Clock::now());
  return seconds > 0 ? static_cast<double>(images_) / seconds : 0;
}

std::string Progress::line(const std::string& label, std::int64_t done_steps) const {
  const double seconds = seconds_between(start_, Clock::now());
  const auto made = static_cast<double>(done_steps - first_step_),
             left = static_cast<double>(total_steps_ - done_steps);
  return fmt::format("{}  step {}/{}  {:.0f} images/s  {} left", label, done_steps, total_steps_, images_per_second(),
                     duration_text(made > 0 ? seconds / made * left : 0));
}

void Progress::step(const std::string& label, std::int64_t done_steps, std::int64_t images) {
  images_ += images;
  const auto now = Clock::now();
  if (style_ == ProgressStyle::kNone) return;
  if (style_ == ProgressStyle::kLines) {
    if (now - drawn_ < kLineEvery) return;
    drawn_ = now;
    spdlog::info("{}", line(label, done_steps));
    return;
  }
  if (now - drawn_ < kRedraw) return;
  drawn_ = now;
  const auto filled = static_cast<int>(kBarWidth * done_steps / std::max<std::int64_t>(total_steps_, 1));
  const std::string bar = std::string(filled, '#') + std::string(kBarWidth - filled, '.');
  std::fprintf(stderr, "\r\033[K[%s] %s", bar.c_str(), line(label, done_steps).c_str());
  std::fflush(stderr);
  visible_ = true;
}

void Progress::clear() {
  if (!visible_) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
  visible_ = false;
}

}  // namespace ekd
