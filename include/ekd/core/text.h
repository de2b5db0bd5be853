// Small text helpers: the nearest accepted name and lists of names for messages, numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ekd {

// The candidate with the smallest edit distance to `name`; empty when none is near enough to be a likely slip.
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

// "a, b, c"
std::string join(const std::vector<std::string>& names, std::string_view separator = ", ");

// The whole text as a decimal number; none where it is anything else.
std::optional<std::int64_t> whole_number(std::string_view text);

// "; did you mean NAME?" or nothing.
std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace ekd
