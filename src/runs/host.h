// The machine's name, for locks and records.
#pragma once

#include <string>

namespace ekd {

std::string host_name();

}  // namespace ekd
