// Rate and time left, on stderr: a bar that redraws itself on a terminal, plain lines elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace ekd {

enum class ProgressStyle { kBar, kLines, kNone };

// "auto": a bar where stderr is a terminal. `text` is auto, bar, lines or none.
ProgressStyle resolve_progress(const std::string& text);

class Progress {
 public:
  // `total_steps` of the whole training, of which `done_steps` were made before this process.
  Progress(ProgressStyle style, std::int64_t total_steps, std::int64_t done_steps);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // After each step; cheap. `label` says where, e.g. "epoch 3/10, step 5/94".
  void step(const std::string& label, std::int64_t done_steps, std::int64_t images);

  // Takes the bar away so that a log line can stand in its place.
  void clear();

  double images_per_second() const;

 private:
  using Clock = std::chrono::steady_clock;
  std::string line(const std::string& label, std::int64_t done_steps) const;

  ProgressStyle style_;
  std::int64_t total_steps_, first_step_, images_ = 0;
  Clock::time_point start_ = Clock::now(), drawn_;
  bool visible_ = false;  // a bar; of lines, whether there was one
};

// "1:02:03" or "2:03".
std::string duration_text(double seconds);

}  // namespace ekd
