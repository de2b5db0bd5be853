// Why a program should stop: SIGINT, SIGTERM, SIGUSR1 or a deadline become a flag that loops ask for; work is saved
// before the program ends.
#pragma once

#include <chrono>

namespace ekd {

// A second SIGINT or SIGTERM then ends the program at once.
void install_signal_handlers();

// From this moment on stop_request() answers kDeadline.
void set_stop_deadline(std::chrono::steady_clock::time_point deadline);

inline constexpr int kDeadline = -1;

// 0: go on; kDeadline; else the signal that asked the program to stop.
int stop_request();

// How the program ends after `request` was obeyed: 128 + signal (130, 143, 138), 0 after a deadline.
int stop_exit_code(int request);

}  // namespace ekd
