// Losses on logits and ways to combine teachers against their authors' own code: tests/golden/kd, or the folder in
// EKD_GOLDEN_DIR (or its subfolder kd), which may hold other sets with other settings.
#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "ekd/core/tensor_file.h"
#include "ekd/losses/classification.h"
#include "tests/losses/losses.h"
#include "tests/support/emulated_block.h"

namespace ekd {
namespace {

using nlohmann::json;

std::filesystem::path golden_folder() {
  const char* given = std::getenv("EKD_GOLDEN_DIR");
  const std::filesystem::path folder = given != nullptr ? given : EKD_GOLDEN_DIR;
  return std::filesystem::exists(folder / "kd" / "expect.json") ? folder / "kd" : folder;
}

// Of what this program has none: cross-entropy alone, a distance that needs a table of the classes, two views.
bool is_left_out(const std::string& method) { return method == "ce" || method == "wkd_l" || method == "mlkd_original"; }

bool begins_with_word(const std::string& text, const std::string& word) {
  return text.starts_with(word) && (text.size() == word.size() || text[word.size()] == '_');
}

// One of the file's methods: "dkd_epoch5" is --loss dkd, "camkd" is --loss kd --kd ca-mkd.
struct Method {
  std::string loss, combination = "add-loss";
  bool several_teachers = false;

  explicit Method(const std::string& name) {
    const std::map<std::string, std::string> combinations{
        {"camkd", "ca-mkd"}, {"ebkd", "entropy"}, {"avgkd", "avg-loss"}};
    if (const auto found = combinations.find(name); found != combinations.end()) {
      loss = "kd";
      combination = found->second;
      several_teachers = true;
      return;
    }
    for (const auto& row : distillation_loss_registry().names()) {
      std::string word = row;
      std::ranges::replace(word, '-', '_');
      if (begins_with_word(name, word) && row.size() > loss.size()) loss = row;
    }
    TORCH_CHECK(!loss.empty(), "no loss for the method ", name);
  }
};

// The settings that an entry was computed with; several where their losses are added up.
struct Recipe {
  std::vector<DistillConfig> configs;
  double epochs_done = 1e4, ce_weight = 0;
};

// A sum over temperatures is one loss where they are next to each other, else a sum of losses.
void set_temperatures(Recipe& recipe, const std::vector<double>& temperatures) {
  DistillConfig config = recipe.configs.front();
  const bool row = temperatures.size() % 2 == 1 && std::ranges::adjacent_find(temperatures, [](double a, double b) {
                                                     return b != a + 1;
                                                   }) == temperatures.end();
  config.loss_settings.at("mlkd_spread") = row ? static_cast<double>(temperatures.size() / 2) : 0;
  recipe.configs.clear();
  for (std::size_t i = row ? temperatures.size() / 2 : 0; i < temperatures.size(); ++i) {
    config.temperature = temperatures[i];
    recipe.configs.push_back(config);
    if (row) break;
  }
}

Recipe recipe_of(const Method& method, const json& hyper) {
  const DistillationLossRow& row = distillation_loss_registry().at(method.loss);
  const std::string family = method.loss == "lskd-dkd" ? "dkd" : method.loss;
  const std::set<std::string> described{"K", "divided_by", "std", "eps", "views", "row_share", "class_share"};
  Recipe recipe{{published_config(row, method.combination)}};
  DistillConfig& config = recipe.configs.front();
  config.kd_weight = 1;
  for (const auto& [key, value] : hyper.items()) {
    if (key == "w_kd") {
      config.kd_weight = value;
    } else if (key == "w_ce") {
      recipe.ce_weight = value;
    } else if (key == "T" && value.is_number()) {
      config.temperature = value;
    } else if (key == "gamma" && (family == "ttm" || family == "wttm")) {
      config.temperature = 1 / value.get<double>();
    } else if (key == "warmup_epochs") {
      config.loss_settings.at(family + "_warm_up") = value;
    } else if (key != "T" && key != "epoch" && key != "warmup_factor" && !described.contains(key)) {
      std::string name = family + "_" + key;
      std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
      TORCH_CHECK(config.loss_settings.contains(name), "no setting ", name);
      config.loss_settings[name] = value.is_boolean() ? double(value.get<bool>()) : value.get<double>();
    }
  }
  if (hyper.contains("epoch")) {
    recipe.epochs_done = hyper["epoch"].get<double>() - 1;
  } else if (hyper.contains("warmup_factor")) {
    recipe.epochs_done = hyper["warmup_factor"].get<double>() * config.loss_settings.at(family + "_warm_up") - 1;
  }
  if (hyper.contains("T") && hyper["T"].is_array()) set_temperatures(recipe, hyper["T"]);
  return recipe;
}

struct Computed {
  std::map<std::string, at::Tensor> parts;  // unweighted
  at::Tensor loss;
};

Computed compute(const Recipe& recipe, const LossCase& asked) {
  Computed computed;
  const auto add = [](at::Tensor& sum, const at::Tensor& value) { sum = sum.defined() ? sum + value : value; };
  for (const auto& config : recipe.configs) {
    const LossTerms losses = loss_terms(config, asked);
    add(computed.loss, config.kd_weight * losses.total());
    for (const auto& term : losses.terms) add(computed.parts[term.name], term.value);
  }
  return computed;
}

at::Tensor gradient_of(const at::Tensor& value, const at::Tensor& leaf) {
  leaf.mutable_grad().reset();
  value.backward({}, /*retain_graph=*/true);
  return leaf.grad().to(at::kDouble);
}

class Entry {
 public:
  Entry(const json& expect, const TensorFile& file, const std::string& set, const std::string& name,
        at::ScalarType dtype)
      : expected_(expect.at("logit").at(set).at(name)),
        file_(file),
        name_(name),
        method_(name),
        wide_(dtype == at::kDouble),
        tolerance_(expect.at("methods").at(name).at("tolerance").at(wide_ ? "float64" : "float32")),
        recipe_(recipe_of(method_, expected_.at("hyper"))) {
    asked_ = {.student = file.at("student").to(dtype, false, /*copy=*/true).requires_grad_(),
              .teachers = {},
              .labels = file.at("labels")};
    asked_.epochs_done = recipe_.epochs_done;
    for (const auto& teacher : file.at("teachers").unbind())
      if (asked_.teachers.empty() || method_.several_teachers) asked_.teachers.push_back(teacher.to(dtype));
    // These authors divide by the number of teachers once more, and entropies' weights by nothing.
    const auto count = static_cast<double>(asked_.teachers.size());
    if (name == "camkd") recipe_.configs.front().kd_weight = 1 / count;
    if (name == "ebkd") recipe_.configs.front().kd_weight = (count - 1) / count;
  }

  void check() const {
    const Computed computed = compute(recipe_, asked_);
    EXPECT_EQ(computed.loss.scalar_type(), wide_ ? at::kDouble : at::kFloat);
    const bool apart = !wide_ && expected_.contains("float32");  // the authors' own float32 goes elsewhere
    const double loss = (apart ? expected_["float32"] : expected_).at("loss");
    EXPECT_NEAR(computed.loss.item<double>(), loss, relative() * std::abs(loss));
    expect_gradient(computed.loss, apart ? expected_["float32"].at("grad").get<std::string>() : "grad." + name_);
    if (apart) return;
    const json parts = expected_.value("parts", json::object());
    for (const auto& [part, value] : parts.items()) expect_part(part_of(computed, part), part, value);
    if (!expected_.contains("total") || wide_) return;
    const at::Tensor ce =
        soft_cross_entropy(asked_.student, at::one_hot(asked_.labels, asked_.student.size(1)).to(at::kFloat));
    const double total = expected_["total"];
    EXPECT_NEAR((computed.loss + recipe_.ce_weight * ce).item<double>(), total, relative() * std::abs(total));
  }

 private:
  double relative() const { return tolerance_.at("loss_relative"); }

  // "cc_t4" is of one temperature among several; what is left of a sum over teachers is the term itself.
  at::Tensor part_of(const Computed& computed, const std::string& part) const {
    if (part == "sum_over_teachers") return computed.parts.at("kd");
    if (computed.parts.contains(part)) return computed.parts.at(part);
    const auto at = part.rfind("_t");
    TORCH_CHECK(at != std::string::npos, "no part ", part);
    Recipe one = recipe_;
    set_temperatures(one, {std::stod(part.substr(at + 2))});
    return compute(one, asked_).parts.at(part.substr(0, at));
  }

  void expect_part(const at::Tensor& value, const std::string& part, double expected) const {
    const double floor = wide_ ? 1e-3 * std::abs(expected_.at("loss").get<double>()) : 0;
    EXPECT_NEAR(value.item<double>(), expected, relative() * std::max(std::abs(expected), floor) + (wide_ ? 0 : 1e-6))
        << part;
    if (file_.find("grad." + name_ + "." + part) != nullptr) expect_gradient(value, "grad." + name_ + "." + part);
  }

  void expect_gradient(const at::Tensor& value, const std::string& tensor) const {
    const at::Tensor expected = file_.at(tensor).to(at::kDouble);
    const double largest = expected.abs().max().item<double>();
    const double off = (gradient_of(value, asked_.student) - expected).abs().max().item<double>();
    EXPECT_LE(off, tolerance_.at("grad_of_max").get<double>() * largest) << tensor;
  }

  const json& expected_;
  const TensorFile& file_;
  std::string name_;
  Method method_;
  bool wide_;
  json tolerance_;
  Recipe recipe_;
  LossCase asked_;
};

json read_expected() {
  std::ifstream file(golden_folder() / "expect.json");
  return json::parse(file);
}

TensorFile read_set(const std::string& set) {
  return read_tensor_file(golden_folder() / ("logit_" + set + ".safetensors"));
}

TEST(KdGolden, ValuesPartsAndGradients) {
  const json expect = read_expected();
  std::set<std::string> seen;
  for (const auto& [set, methods] : expect.at("logit").items()) {
    const TensorFile file = read_set(set);
    for (const auto& [name, entry] : methods.items()) {
      if (is_left_out(name)) continue;
      for (const auto dtype : {at::kDouble, at::kFloat}) {
        SCOPED_TRACE(name + " of set " + set + (dtype == at::kDouble ? " in float64" : " in float32"));
        Entry(expect, file, set, name, dtype).check();
        if (dtype == at::kDouble) continue;
        SCOPED_TRACE("on a GPU's kernels");
        const FusedEmulation emulation;
        Entry(expect, file, set, name, dtype).check();
      }
      seen.insert(Method(name).loss);
    }
  }
  EXPECT_TRUE(std::getenv("EKD_GOLDEN_DIR") != nullptr || seen.size() == 13) << "of our own sets";
}

TEST(KdGolden, ConfidenceWeights) {
  const CombinationRow& row = combination_registry().at("ca-mkd");
  const json expect = read_expected();
  for (const auto& [set, methods] : expect.at("logit").items()) {
    const TensorFile file = read_set(set);
    const at::Tensor teachers = file.at("teachers").to(at::kDouble);
    const at::Tensor targets = at::one_hot(file.at("labels"), teachers.size(2)).to(at::kDouble);
    const at::Tensor off = row.sample_weights(teachers, targets) - file.at("weight.camkd");
    EXPECT_LE(off.abs().max().item<double>(), 1e-9) << set;
  }
}

}  // namespace
}  // namespace ekd
