// SIGINT, SIGTERM and SIGUSR1 become a flag that loops ask for; work is saved before the program ends.
#pragma once

namespace ekd {

// A second SIGINT or SIGTERM then ends the program at once.
void install_signal_handlers();

// The signal that asked the program to stop, or 0.
int stop_signal();

// 128 + signal: 130, 143, 138.
int signal_exit_code(int signal);

}  // namespace ekd
