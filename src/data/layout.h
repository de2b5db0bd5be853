// What a folder holds, told by the names in it.
#pragma once

#include <filesystem>
#include <string>

namespace ekd {

// The data set (a name of the registry) whose files lie there; empty where none do.
std::string dataset_in(const std::filesystem::path& dir);

// What the folder seems to hold instead of `dataset`, or how to get that: a clause that begins with "; ".
std::string what_lies_in(const std::filesystem::path& dir, const std::string& dataset);

}  // namespace ekd
