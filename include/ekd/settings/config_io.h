// Settings in and out: values from JSON files, texts from flags and the environment, all checked against the field
// list.
#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "ekd/core/field.h"

namespace ekd {

// {"data": {"dataset": …}, …} with every field, in the order of the list.
nlohmann::ordered_json config_json(const std::vector<Field>& fields);

// {"optim": {"lr": value}} for "optim.lr".
nlohmann::json layer_of(const std::string& key, const nlohmann::json& value);

// Applies every key of `layer`, an object as config_json writes it, and returns the keys; `source` names it in errors.
// Throws UsageError.
std::set<std::string> apply_json(const std::vector<Field>& fields, const nlohmann::json& layer, const std::string& source);

// Reads a file and applies it; returns the keys that it holds. Throws UsageError, also where the file is missing or no
// JSON.
std::set<std::string> apply_file(const std::vector<Field>& fields, const std::string& path);

// Throws UsageError where the text, a value of `key`, could not stand in a JSON file.
void check_utf8(const std::string& text, const std::string& key, const std::string& source);

// Sets one field from text ("optim.lr", ".05"; lists by commas). Throws UsageError.
void apply_text(const std::vector<Field>& fields, const std::string& key, const std::string& text,
                const std::string& source);

// Sets the field to a value of field_json(). Throws UsageError where it does not fit.
void set_field(const Field& field, const nlohmann::json& value);

// The field's value as JSON.
nlohmann::json field_json(const Field& field);

// What changed between two settings of the same list, as "optim.lr (0.05, was 0.1)"; only fields with this rule.
std::vector<std::string> differences(const std::vector<Field>& now, const std::vector<Field>& before, OnResume rule);

}  // namespace ekd
