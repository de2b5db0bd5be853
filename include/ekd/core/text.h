// Small text helpers for messages: the nearest accepted name, and lists of names.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ekd {

// The candidate with the smallest edit distance to `name`; empty when none is near enough to be a likely slip.
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

// "a, b, c"
std::string join(const std::vector<std::string>& names, std::string_view separator = ", ");

// "; did you mean NAME?" or nothing.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace ekd
