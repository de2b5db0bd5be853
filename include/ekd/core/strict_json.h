// JSON as a user may hand it to us: duplicate keys and bombs of nesting are errors, and messages fit one line.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace ekd {

// Throws JsonError. Insertion order of keys is not kept.
nlohmann::json parse_strict_json(std::string_view text);

struct JsonError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace ekd
