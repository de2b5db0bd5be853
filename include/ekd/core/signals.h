// Why a program should stop: a signal or a deadline sets a flag that loops look at, so that work is saved before the
// program ends. And what must not end it unsaved: a console that is closed, a limit on file sizes.
#pragma once

#include <chrono>

namespace ekd {

// Of the signals that would end the program: SIGINT, SIGTERM, SIGHUP (a closed session), SIGUSR1, SIGUSR2, SIGXCPU (a
// limit of CPU time), the timers' and SIGPWR. A second SIGINT or SIGTERM then ends it at once. A SIGHUP that is ignored
// (nohup) stays so.
void install_signal_handlers();

// Where nobody reads any more, or a file passes a limit, writing fails (EPIPE, EFBIG) instead of ending the program.
void ignore_write_signals();

// Opens what of stdin, stdout and stderr is closed, so that no file of ours gets their numbers. What is written to a
// closed stdout or stderr fails, as it would have.
void open_standard_streams();

// From this moment on stop_request() answers kDeadline.
void set_stop_deadline(std::chrono::steady_clock::time_point deadline);

inline constexpr int kDeadline = -1, kGivenUp = -2;

// From now on stop_request() answers kGivenUp: the program ends by an error, and what goes on beside it is to be saved.
void give_up();

// 0: go on; kDeadline, kGivenUp; else the signal that asked the program to stop.
int stop_request();

// How the program ends after `request` was obeyed: 128 + signal (130 for SIGINT, 143 for SIGTERM), else 0.
int stop_exit_code(int request);

}  // namespace ekd
