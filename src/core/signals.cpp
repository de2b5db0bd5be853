#include "ekd/core/signals.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace ekd {
namespace {

std::atomic<int> g_stop_signal{0};
static_assert(std::atomic<int>::is_always_lock_free, "the handler may only touch lock-free atomics");

void on_signal(int signal) {
  if (g_stop_signal.load() != 0 && signal != SIGUSR1) _exit(signal_exit_code(signal));
  g_stop_signal.store(signal);
}

}  // namespace

void install_signal_handlers() {
  struct sigaction action{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaction(signal, &action, nullptr);
}

int stop_signal() { return g_stop_signal.load(); }

int signal_exit_code(int signal) { return 128 + signal; }

}  // namespace ekd
