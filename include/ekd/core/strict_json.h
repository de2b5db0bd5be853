// JSON that a user may have written: duplicate keys and deep nesting are errors, and messages fit one line.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>

namespace ekd {

// Throws JsonError. Insertion order of keys is not kept.
nlohmann::json parse_strict_json(std::string_view text);

// A file that a user wrote: throws UsageError where it cannot be read or is no JSON.
nlohmann::json read_users_json(const std::filesystem::path& path);

// A file that ekd wrote: throws WeightsError where it is damaged, IoError where it cannot be read.
nlohmann::json read_own_json(const std::filesystem::path& path);

struct JsonError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// object[key] where it is there and of the type of `otherwise`: in a file that somebody edited it may be of any.
template <class Json, class Value>
Value value_or(const Json& object, const char* key, Value otherwise) {
  const auto found = object.find(key);  // the end where it is no object
  if (found == object.end()) return otherwise;
  const Json like(otherwise);
  const bool fits = like.is_number_integer() ? found->is_number_integer()
                    : like.is_number()       ? found->is_number()
                                             : found->type() == like.type();
  return fits ? found->template get<Value>() : otherwise;
}

// JSON as text for a file or the console: names that are no UTF-8 (folders may have such) are shown with U+FFFD.
template <class Json>
std::string json_text(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace ekd
