#include "ekd/runs/progress.h"

#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "ekd/core/log.h"

namespace ekd {
namespace {

constexpr std::chrono::milliseconds kRedraw{200};
constexpr std::chrono::seconds kFirstLine{5}, kLineEvery{30};
constexpr int kBarWidth = 24;

double seconds_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

std::size_t terminal_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
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
  return fmt::format("{}  {:.0f} images/s  {} left", label, images_per_second(),
                     duration_text(made > 0 ? seconds / made * left : 0));
}

void Progress::step(const std::string& label, std::int64_t done_steps, std::int64_t images) {
  images_ += images;
  const auto now = Clock::now();
  if (style_ == ProgressStyle::kNone) return;
  if (style_ == ProgressStyle::kLines) {
    if (now - drawn_ < (visible_ ? kLineEvery : kFirstLine)) return;
    drawn_ = now;
    visible_ = true;
    spdlog::info("{}", line(label, done_steps));
    return;
  }
  if (now - drawn_ < kRedraw) return;
  drawn_ = now;
  const auto filled = static_cast<int>(kBarWidth * done_steps / std::max<std::int64_t>(total_steps_, 1));
  const std::string bar = std::string(filled, '#') + std::string(kBarWidth - filled, '.');
  std::string text = fmt::format("[{}] {}", bar, line(label, done_steps));
  text.resize(std::min(text.size(), terminal_width() - 1));  // a line that wraps could not be taken away
  std::fprintf(stderr, "\r\033[K%s", text.c_str());
  std::fflush(stderr);
  visible_ = true;
}

void Progress::clear() {
  if (!visible_ || style_ != ProgressStyle::kBar) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
  visible_ = false;
}

}  // namespace ekd
