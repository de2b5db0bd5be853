#include "ekd/core/signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace ekd {
namespace {

std::atomic<int> g_stop_signal{0};
static_assert(std::atomic<int>::is_always_lock_free, "the handler may only touch lock-free atomics");

std::chrono::steady_clock::time_point g_deadline = std::chrono::steady_clock::time_point::max();

void on_signal(int signal) {
  if (g_stop_signal.load() != 0 && signal != SIGUSR1) _exit(stop_exit_code(signal));
  g_stop_signal.store(signal);
}

}  // namespace

void install_signal_handlers() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaction(signal, &action, nullptr);
}

void set_stop_deadline(std::chrono::steady_clock::time_point deadline) { g_deadline = deadline; }

int stop_request() {
  const int signal = g_stop_signal.load();
  if (signal != 0) return signal;
  return std::chrono::steady_clock::now() >= g_deadline ? kDeadline : 0;
}

int stop_exit_code(int request) { return request > 0 ? 128 + request : 0; }

}  // namespace ekd
