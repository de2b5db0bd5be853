#include "ekd/core/strict_json.h"

#include <set>
#include <vector>

namespace ekd {
namespace {

constexpr std::size_t kMaxDepth = 32;

// "[json.exception.parse_error.101] parse error at line 1, column 2: …" → "parse error at line 1, column 2: …"
std::string without_tag(std::string text) {
  const auto end = text.find("] ");
  if (text.starts_with('[') && end != std::string::npos) text.erase(0, end + 2);
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  return text;
}

}  // namespace

nlohmann::json parse_strict_json(std::string_view text) {
  using Event = nlohmann::json::parse_event_t;
  std::vector<std::set<std::string>> open_objects;
  std::size_t depth = 0;
  const auto check = [&](int, Event event, nlohmann::json& value) {
    if (event == Event::object_start || event == Event::array_start) {
      if (++depth > kMaxDepth) throw JsonError("nested more than " + std::to_string(kMaxDepth) + " deep");
      if (event == Event::object_start) open_objects.emplace_back();
    } else if (event == Event::object_end || event == Event::array_end) {
      --depth;
      if (event == Event::object_end) open_objects.pop_back();
    } else if (event == Event::key) {
      const auto& key = value.get_ref<const std::string&>();
      if (!open_objects.back().insert(key).second) throw JsonError("key '" + key + "' stands twice");
    }
    return true;
  };
  try {
    return nlohmann::json::parse(text, check);
  } catch (const nlohmann::json::exception& error) {
    throw JsonError(without_tag(error.what()));
  }
}

}  // namespace ekd
