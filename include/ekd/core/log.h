// The console and the run's log file. Everything goes to stderr; stdout is for results.
#pragma once

#include <string>

namespace ekd {

// How much is said: -1 (-q) warnings and errors, 0 progress, 1 (-v) details, 2 (-vv) traces.
void set_up_log(int verbosity);

// From now on also into `path`, without colour, appending; an empty path ends that. Throws IoError.
void log_to_file(const std::string& path);

// Whether stderr is a terminal that takes escape codes (NO_COLOR and TERM=dumb say no).
bool stderr_takes_colour();

}  // namespace ekd
