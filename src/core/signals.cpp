#include "ekd/core/signals.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace ekd {
namespace {

std::atomic<int> g_stop_signal{0};
std::atomic<bool> g_interrupted{false};  // by SIGINT or SIGTERM
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free,
              "the handler may only touch lock-free atomics");

std::chrono::steady_clock::time_point g_deadline = std::chrono::steady_clock::time_point::max();

void on_signal(int signal) {
  const bool interrupt = signal == SIGINT || signal == SIGTERM;
  if (interrupt && g_interrupted.exchange(true)) _exit(stop_exit_code(signal));
  int none = 0;
  g_stop_signal.compare_exchange_strong(none, signal);
}

bool is_ignored(int signal) {
  struct sigaction now {};
  return sigaction(signal, nullptr, &now) == 0 && now.sa_handler == SIG_IGN;
}

}  // namespace

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU, SIGALRM, SIGVTALRM, SIGPROF, SIGPWR})
    if (signal != SIGHUP || !is_ignored(signal)) sigaction(signal, &action, nullptr);
}

void ignore_write_signals() {
  for (const int signal : {SIGPIPE, SIGXFSZ}) ::signal(signal, SIG_IGN);
}

void open_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (fcntl(stream, F_GETFD) < 0 && open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0) _exit(8);
}

void set_stop_deadline(std::chrono::steady_clock::time_point deadline) { g_deadline = deadline; }

void give_up() {
  int none = 0;
  g_stop_signal.compare_exchange_strong(none, kGivenUp);
}

int stop_request() {
  const int signal = g_stop_signal.load();
  if (signal != 0) return signal;
  return std::chrono::steady_clock::now() >= g_deadline ? kDeadline : 0;
}

int stop_exit_code(int request) { return request > 0 ? 128 + request : 0; }

}  // namespace ekd
