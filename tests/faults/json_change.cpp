#include "faults/json_change.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>
#include <vector>

namespace ekd::faults {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kValues[] = {"null",
                                        "true",
                                        "0",
                                        "-1",
                                        "1.5",
                                        "1e308",
                                        "9223372036854775807",
                                        "18446744073709551615",
                                        "-9223372036854775808",
                                        "\"\"",
                                        "\"x\"",
                                        "[]",
                                        "{}",
                                        "[null]",
                                        "{\"\":0}"};
constexpr std::string_view kDeep = "the place of what is nested deep";  // the library writes such values by recursion
constexpr std::size_t kDepth = 25'000, kMostOpened = 1'000;

std::size_t below(std::size_t end, std::mt19937_64& random) { return random() % end; }

// Every value below `root`, and itself.
std::vector<Json*> all_values(Json& root) {
  std::vector<Json*> found{&root};
  for (std::size_t i = 0; i < found.size(); ++i)
    if (found[i]->is_structured())
      for (auto& child : *found[i]) found.push_back(&child);
  return found;
}

void replace(Json& value, std::mt19937_64& random) {
  const std::size_t choice = below(std::size(kValues) * 4 + 1, random);
  value = choice / 4 < std::size(kValues) ? Json::parse(kValues[choice / 4]) : Json(kDeep);
}

std::string text_of(const Json& json) {
  std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  const std::string place = '"' + std::string(kDeep) + '"';
  const auto at = text.find(place);
  return at == std::string::npos ? text
                                 : text.replace(at, place.size(), std::string(kDepth, '[') + std::string(kDepth, ']'));
}

std::string changed(const std::string& text, std::mt19937_64& random) {
  const auto opens = [](char c) { return c == '[' || c == '{'; };
  if (std::ranges::count_if(text, opens) > static_cast<std::ptrdiff_t>(kMostOpened)) return text;
  Json root = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) return text;
  const auto values = all_values(root);
  Json& value = *values[below(values.size(), random)];
  const std::size_t how = below(4, random);
  if (how == 0 && value.is_structured() && !value.empty()) {
    value.erase(std::next(value.begin(), static_cast<std::ptrdiff_t>(below(value.size(), random))));
  } else if (how == 1 && value.is_object() && !value.empty()) {
    value["x"] = std::next(value.begin(), static_cast<std::ptrdiff_t>(below(value.size(), random))).value();
  } else {
    replace(value, random);
  }
  return text_of(root);
}

std::string with_header_changed(const std::string& file, std::mt19937_64& random) {
  std::uint64_t size = 0;
  if (file.size() < sizeof size) return file;
  std::memcpy(&size, file.data(), sizeof size);
  if (size > file.size() - sizeof size) return file;
  const std::string header = changed(file.substr(sizeof size, size), random);
  const std::uint64_t new_size = header.size();
  return std::string(reinterpret_cast<const char*>(&new_size), sizeof new_size) + header +
         file.substr(sizeof size + size);
}

std::string with_line_changed(const std::string& file, std::mt19937_64& random) {
  const auto end = file.find('\n', below(file.size(), random));
  if (end == std::string::npos || end == 0) return file;
  const auto before = file.rfind('\n', end - 1);
  const std::size_t begin = before == std::string::npos ? 0 : before + 1;
  return file.substr(0, begin) + changed(file.substr(begin, end - begin), random) + file.substr(end);
}

}  // namespace

std::string with_json_changed(const std::string& file, std::string_view reader, std::mt19937_64& random) {
  if (file.empty() || reader == "cifar") return file;
  if (reader == "metrics") return with_line_changed(file, random);
  const bool tensors = reader == "weights" || reader == "checkpoint" || reader == "predictions";
  return tensors ? with_header_changed(file, random) : changed(file, random);
}

}  // namespace ekd::faults
