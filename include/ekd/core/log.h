// The console and the runs' log files. Everything goes to stderr; stdout is for results.
#pragma once

#include <string>
#include <string_view>
#include <thread>

namespace ekd {

// How much is said: -1 (-q) warnings and errors, 0 progress, 1 (-v) details, 2 (-vv) traces.
void set_up_log(int verbosity);

// A run's log while it lives: what the console shows, without colour, appended. Several may be open: a line goes to all
// that its own thread has opened, or where a LogScope says.
class LogFile {
 public:
  // Throws IoError.
  explicit LogFile(std::string path);
  ~LogFile();
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  // Writes a text that the console need not show. After a failure, which error() tells, nothing more is written.
  void append(std::string_view text);
  const std::string& error() const { return error_; }
  std::thread::id thread() const { return thread_; }

 private:
  std::string path_, error_;
  std::thread::id thread_ = std::this_thread::get_id();
  int file_ = -1;
};

// While it lives, this thread's lines go to the console and to `file` alone; null: to the console alone. A line that
// the file does not take throws IoError: a run whose record is lost stops like one that cannot save.
class LogScope {
 public:
  explicit LogScope(LogFile* file);
  ~LogScope();
  LogScope(const LogScope&) = delete;
  LogScope& operator=(const LogScope&) = delete;

 private:
  bool outer_;
  LogFile* outer_file_;
};

// Whether stderr is a terminal that takes escape codes (NO_COLOR and TERM=dumb say no).
bool stderr_takes_colour();

}  // namespace ekd
