#include "ekd/core/strict_json.h"

#include <set>
#include <vector>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"

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

// Builds the value as the library does, and looks at depth and keys on the way. (The library's callback parser would do
// as well, but takes quadratic time on objects of many keys.)
class StrictReader : public nlohmann::detail::json_sax_dom_parser<nlohmann::json> {
  using Base = nlohmann::detail::json_sax_dom_parser<nlohmann::json>;

 public:
  explicit StrictReader(nlohmann::json& result) : Base(result, /*allow_exceptions_=*/true) {}

  bool start_object(std::size_t size) {
    enter();
    keys_.emplace_back();
    return Base::start_object(size);
  }
  bool key(std::string& key) {
    if (!keys_.back().insert(key).second) throw JsonError("key '" + key + "' stands twice");
    return Base::key(key);
  }
  bool end_object() {
    --depth_;
    keys_.pop_back();
    return Base::end_object();
  }
  bool start_array(std::size_t size) {
    enter();
    return Base::start_array(size);
  }
  bool end_array() {
    --depth_;
    return Base::end_array();
  }

 private:
  void enter() {
    if (++depth_ > kMaxDepth) throw JsonError("nested more than " + std::to_string(kMaxDepth) + " deep");
  }

  std::vector<std::set<std::string>> keys_;  // of the objects that are open
  std::size_t depth_ = 0;
};

}  // namespace

nlohmann::json parse_strict_json(std::string_view text) {
  // The library takes it for the end, whatever follows.
  if (text.find('\0') != std::string_view::npos) throw JsonError("holds a NUL byte");
  try {
    nlohmann::json result;
    StrictReader reader(result);
    nlohmann::json::sax_parse(text, &reader);
    return result;
  } catch (const nlohmann::json::exception& error) {
    throw JsonError(without_tag(error.what()));
  }
}

nlohmann::json read_users_json(const std::filesystem::path& path) {
  try {
    return parse_strict_json(read_text(path));
  } catch (const IoError& error) {
    throw UsageError(error.what());
  } catch (const JsonError& error) {
    throw UsageError(path.string() + ": no valid JSON: " + error.what());
  }
}

nlohmann::json read_own_json(const std::filesystem::path& path) {
  try {
    return parse_strict_json(read_text(path));
  } catch (const JsonError& error) {
    throw WeightsError(path.string() + ": is damaged: " + error.what());
  }
}

}  // namespace ekd
