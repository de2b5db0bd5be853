#include "commands/settings.h"

#include <spdlog/spdlog.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "ekd/commands/command.h"
#include "ekd/core/error.h"
#include "ekd/core/strict_json.h"
#include "ekd/core/text.h"
#include "ekd/settings/config.h"
#include "ekd/settings/config_io.h"
#include "ekd/train/training_run.h"

namespace ekd {
namespace {

std::string title(std::string section) {
  if (section == "optim") return "Optimisation";
  if (section == "augment") return "Augmentation";
  if (section == "distill") return "Distillation";
  if (section == "eval" || section == "evaluate") return "Evaluation";
  if (section == "predict") return "Prediction";
  section[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(section[0])));
  return section;
}

bool is_text_list(const Field& field) { return std::holds_alternative<std::vector<std::string>*>(field.value); }

const Field& field_with_key(const std::vector<Field>& fields, const std::string& key) {
  for (const auto& field : fields)
    if (field.key == key) return field;
  throw std::logic_error("no field " + key);
}

// What a text given to the field's flag or variable says of the field: a flag --no-… says the opposite.
std::string text_for(const Field& field, const std::string& text) {
  if (!field.flag.starts_with("--no-")) return text;
  if (text == "true" || text == "1" || text == "on") return "false";
  if (text == "false" || text == "0" || text == "off") return "true";
  return text;
}

// "--fit-on "$FILE"" with a variable that is not set is a mistake; --set KEY= is the way to say nothing.
const std::string& not_empty(const std::string& text, const std::string& flag) {
  if (text.empty()) throw UsageError(flag + ": takes a value, not ''");
  return text;
}

std::string help_of(const Field& field) {
  const std::string value = field_json(field).dump();
  return field.help + " (" + field.key + "; " + accepted_text(field) +
         (value == "\"\"" || value == "[]" ? "" : "; default " + value) + ")";
}

}  // namespace

Settings::Settings(CLI::App& app, const std::vector<Field>& fields) : app_(app) {
  for (const auto& field : fields) {
    if (field.flag.empty()) continue;
    CLI::Option* option = nullptr;
    if (std::holds_alternative<bool*>(field.value)) {
      option = app.add_flag(field.flag)->description(help_of(field));
    } else {
      option = app.add_option(field.flag, values_[field.flag], help_of(field))
                   ->expected(1)
                   ->take_all()
                   ->allow_extra_args(false);
      option->type_name(field.accepted.names.empty() || field.accepted.or_number ? "VALUE" : "NAME");
    }
    option->group(title(field.key.substr(0, field.key.find('.'))));
    keys_[option] = field.key;
  }
  config_option_ = app.add_option("--config", config_file_, "JSON file with settings, as --print-config shows them")
                       ->type_name("FILE")
                       ->group("Config");
  set_option_ = app.add_option("--set", sets_, "key.path=value, for any setting; repeat for several")
                    ->expected(1)
                    ->take_all()
                    ->allow_extra_args(false)
                    ->type_name("KEY=VALUE")
                    ->group("Config");
  app.add_flag("--print-config", print_, "print the settings that would be used, and stop")->group("Config");
}

bool Settings::printed(const std::vector<Field>& fields) const {
  if (print_) std::printf("%s\n", json_text(config_json(fields), 2).c_str());
  return print_;
}

std::vector<std::string> Settings::option_names() const {
  std::vector<std::string> names{"set"};
  for (const auto& [option, key] : keys_) names.push_back(option->get_lnames().front());
  return names;
}

std::set<std::string> Settings::apply(const std::vector<Field>& fields) const {
  std::set<std::string> given;
  if (config_option_->count() > 0) given = apply_file(fields, not_empty(config_file_, "--config"));
  for (const auto& field : fields) {
    if (field.flag.empty()) continue;
    const std::string variable = environment_name(field.flag);
    const char* value = std::getenv(variable.c_str());
    if (value == nullptr || *value == '\0') continue;
    apply_text(fields, field.key, text_for(field, value), variable);
    // The same name may be meant for another command: --temperature is distill's, too.
    if (field.key.starts_with("evaluate.") || field.key.starts_with("predict."))
      spdlog::warn("{} sets {} to {}", variable, field.key, value);
    given.insert(field.key);
  }
  apply_typed(fields, given);
  return given;
}

void Settings::apply_typed(const std::vector<Field>& fields, std::set<std::string>& given) const {
  std::map<const CLI::Option*, std::size_t> seen;
  for (const CLI::Option* option : app_.parse_order()) {
    const std::size_t nth = seen[option]++;
    if (option == set_option_) {
      const std::string& text = sets_.at(nth);
      const auto equals = text.find('=');
      if (equals == std::string::npos) throw UsageError("--set: takes key.path=value, not '" + text + "'");
      apply_text(fields, text.substr(0, equals), text.substr(equals + 1), "--set");
      given.insert(text.substr(0, equals));
      continue;
    }
    const auto found = keys_.find(option);
    if (found == keys_.end()) continue;
    const Field& field = field_with_key(fields, found->second);
    given.insert(field.key);
    if (std::holds_alternative<bool*>(field.value)) {
      apply_text(fields, field.key, text_for(field, option->results().at(nth)), field.flag);
    } else if (is_text_list(field)) {
      // A repeated flag is one list.
      if (nth > 0) continue;
      for (const auto& text : values_.at(field.flag)) check_utf8(not_empty(text, field.flag), field.key, field.flag);
      apply_json(fields, layer_of(field.key, values_.at(field.flag)), field.flag);
    } else if (std::holds_alternative<std::vector<std::int64_t>*>(field.value)) {
      if (nth == 0) apply_text(fields, field.key, join(values_.at(field.flag), ","), field.flag);
    } else {
      apply_text(fields, field.key, not_empty(values_.at(field.flag).at(nth), field.flag), field.flag);
    }
  }
}

}  // namespace ekd
