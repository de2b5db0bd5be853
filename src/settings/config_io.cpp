
#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "ekd/core/error.h"
#include "ekd/core/strict_json.h"
#include "ekd/core/text.h"
#include "ekd/settings/config_io.h"

namespace ekd {
namespace {

bool in_range(double value, const Accepted& accepted) {
  return std::isfinite(value) && value <= accepted.max &&
         (accepted.above_min ? value > accepted.min : value >= accepted.min);
}

template <class Number>
std::optional<nlohmann::json> number_from(const std::string& text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return nlohmann::json(number);
}

// The shortest text of this number: 2 for 2.0. Equal numbers are equal texts.
std::string shortest_text(double number) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, number).ptr};
}

// Sets a value from JSON; returns false where it does not fit, and the caller, who knows the field, says what would.
struct FromJson {
  const nlohmann::json& json;
  const Accepted& accepted;

  bool operator()(bool* value) const {
    if (!json.is_boolean()) return false;
    *value = json.get<bool>();
    return true;
  }
  bool operator()(std::int64_t* value) const {
    if (!json.is_number_integer() || !in_range(json.get<double>(), accepted)) return false;
    *value = json.get<std::int64_t>();
    return true;
  }
  bool operator()(double* value) const {
    if (!json.is_number() || !in_range(json.get<double>(), accepted)) return false;
    *value = json.get<double>();
    return true;
  }
  bool operator()(std::optional<double>* value) const {
    if (!json.is_null()) return FromJson{json, accepted}(&value->emplace());
    value->reset();
    return true;
  }
  bool operator()(std::string* value) const {
    if (accepted.or_number) {
      const auto typed = json.is_string() ? number_from<double>(json.get_ref<const std::string&>()) : std::nullopt;
      double number = 0;
      if (FromJson{typed.value_or(json), accepted}(&number)) {
        *value = shortest_text(number);
        return true;
      }
    }
    if (!json.is_string()) return false;
    const auto& text = json.get_ref<const std::string&>();
    const bool free = accepted.names.empty() || (accepted.or_empty && text.empty()) ||
                      (accepted.also != nullptr && accepted.also(text));
    if (!free && std::ranges::find(accepted.names, text) == accepted.names.end()) return false;
    *value = text;
    return true;
  }
  template <class Element>
  bool operator()(std::vector<Element>* value) const {
    if (!json.is_array()) return false;
    std::vector<Element> list(json.size());
    for (std::size_t i = 0; i < list.size(); ++i)
      if (!FromJson{json[i], accepted}(&list[i])) return false;
    *value = std::move(list);
    return true;
  }
};

struct ToJson {
  template <class Value>
  nlohmann::json operator()(const Value* value) const {
    return *value;
  }
  nlohmann::json operator()(const std::optional<double>* value) const {
    return *value ? nlohmann::json(**value) : nlohmann::json();
  }
};

// Text becomes the JSON value it stands for, so that both ways in share one check.
struct JsonFromText {
  const std::string& text;

  std::optional<nlohmann::json> operator()(const bool*) const {
    if (text == "true" || text == "1" || text == "on") return true;
    if (text == "false" || text == "0" || text == "off") return false;
    return std::nullopt;
  }
  std::optional<nlohmann::json> operator()(const std::int64_t*) const { return number_from<std::int64_t>(text); }
  std::optional<nlohmann::json> operator()(const double*) const { return number_from<double>(text); }
  std::optional<nlohmann::json> operator()(const std::optional<double>*) const {
    return text == "null" ? nlohmann::json() : number_from<double>(text);
  }
  std::optional<nlohmann::json> operator()(const std::string*) const { return text; }
  template <class Element>
  std::optional<nlohmann::json> operator()(const std::vector<Element>*) const {
    nlohmann::json list = nlohmann::json::array();
    if (text.ends_with(',')) return std::nullopt;
    std::string rest = text;
    if (rest.size() >= 2 && rest.front() == '[' && rest.back() == ']') rest = rest.substr(1, rest.size() - 2);
    while (!rest.empty()) {
      const auto comma = rest.find(',');
      const std::string part = rest.substr(0, comma);
      const auto element = JsonFromText{part}(static_cast<const Element*>(nullptr));
      if (!element) return std::nullopt;
      list.push_back(*element);
      rest = comma == std::string::npos ? "" : rest.substr(comma + 1);
    }
    return list;
  }
};

bool is_utf8(const std::string& text) {
  const std::string quoted = nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::ignore);
  return nlohmann::json::parse(quoted).get_ref<const std::string&>() == text;
}

std::vector<std::string> keys_of(const std::vector<Field>& fields) {
  std::vector<std::string> keys;
  for (const auto& field : fields) keys.push_back(field.key);
  return keys;
}

// The keys that share the section of `key`, or all sections where it has none that exists.
std::string accepted_keys(const std::vector<Field>& fields, const std::string& key) {
  const std::string section = key.substr(0, key.find('.') + 1);
  std::vector<std::string> near, sections;
  for (const auto& field : fields) {
    if (!section.empty() && field.key.starts_with(section)) near.push_back(field.key);
    const std::string name = field.key.substr(0, field.key.find('.'));
    if (sections.empty() || sections.back() != name) sections.push_back(name);
  }
  return near.empty() ? "sections are " + join(sections) : "accepted: " + join(near);
}

const Field& find_field(const std::vector<Field>& fields, const std::string& key, const std::string& source) {
  for (const auto& field : fields)
    if (field.key == key) return field;
  throw UsageError(source + ": unknown key '" + key + "'; " + accepted_keys(fields, key) +
                   did_you_mean(key, keys_of(fields)));
}

[[noreturn]] void reject(const Field& field, const std::string& shown, const std::string& source) {
  const auto* text = std::get_if<std::string*>(&field.value);
  throw UsageError(source + ": " + field.key + " takes " + accepted_text(field) + ", not " + shown +
                   (text != nullptr ? did_you_mean(shown.substr(1, shown.size() - 2), field.accepted.names) : ""));
}

}  // namespace

nlohmann::json field_json(const Field& field) { return std::visit(ToJson{}, field.value); }

void set_field(const Field& field, const nlohmann::json& value) {
  if (!std::visit(FromJson{value, field.accepted}, field.value)) reject(field, json_text(value), field.key);
}

nlohmann::ordered_json config_json(const std::vector<Field>& fields) {
  nlohmann::ordered_json json;
  for (const auto& field : fields) {
    const auto dot = field.key.find('.');
    json[field.key.substr(0, dot)][field.key.substr(dot + 1)] = field_json(field);
  }
  return json;
}

nlohmann::json layer_of(const std::string& key, const nlohmann::json& value) {
  const auto dot = key.find('.');
  return {{key.substr(0, dot), {{key.substr(dot + 1), value}}}};
}

std::set<std::string> apply_json(const std::vector<Field>& fields, const nlohmann::json& layer,
                                 const std::string& source) {
  std::set<std::string> keys;
  if (!layer.is_object()) throw UsageError(source + ": a configuration is a JSON object of sections");
  for (const auto& [section, values] : layer.items()) {
    const std::string prefix = section + ".";
    const bool known = std::ranges::any_of(fields, [&](const Field& field) { return field.key.starts_with(prefix); });
    if (!known) find_field(fields, section, source);
    if (!values.is_object()) throw UsageError(source + ": section '" + section + "' is not a JSON object");
    for (const auto& [name, value] : values.items()) {
      const Field& field = find_field(fields, prefix + name, source);
      if (!std::visit(FromJson{value, field.accepted}, field.value)) reject(field, value.dump(), source);
      keys.insert(field.key);
    }
  }
  return keys;
}

std::set<std::string> apply_file(const std::vector<Field>& fields, const std::string& path) {
  return apply_json(fields, read_users_json(path), path);
}

void check_utf8(const std::string& text, const std::string& key, const std::string& source) {
  if (!is_utf8(text)) throw UsageError(source + ": the value of " + key + " is not UTF-8 text");
}

void apply_text(const std::vector<Field>& fields, const std::string& key, const std::string& text,
                const std::string& source) {
  const Field& field = find_field(fields, key, source);
  check_utf8(text, key, source);
  const auto json = std::visit([&](const auto* value) { return JsonFromText{text}(value); }, field.value);
  if (!json || !std::visit(FromJson{*json, field.accepted}, field.value)) reject(field, "'" + text + "'", source);
}

std::vector<std::string> differences(const std::vector<Field>& now, const std::vector<Field>& before, OnResume rule) {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < now.size(); ++i) {
    if (now[i].on_resume != rule) continue;
    const auto value = field_json(now[i]), old = field_json(before[i]);
    if (value != old) texts.push_back(now[i].key + " (" + json_text(value) + ", was " + json_text(old) + ")");
  }
  return texts;
}

}  // namespace ekd
