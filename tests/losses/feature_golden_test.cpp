// The losses on features against their authors' code: values, parts and gradients by features and parameters. The
// folder in the environment variable EKD_GOLDEN_DIR, or its subfolder kd, is read instead of the project's where it is
// set.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "ekd/core/tensor_file.h"
#include "ekd/losses/distillation.h"
#include "losses/crd.h"

namespace ekd {
namespace {

std::filesystem::path kd_folder() {
  const char* given = std::getenv("EKD_GOLDEN_DIR");
  const std::filesystem::path folder = given != nullptr ? given : EKD_GOLDEN_DIR;
  return std::filesystem::exists(folder / "kd") ? folder / "kd" : folder;
}

const nlohmann::json& expected() {
  static const nlohmann::json numbers = nlohmann::json::parse(std::ifstream(kd_folder() / "expect.json"));
  return numbers;
}

at::Tensor stored(const std::string& name) {
  static const TensorFile features = read_tensor_file(kd_folder() / "features.safetensors"),
                          review = read_tensor_file(kd_folder() / "features_reviewkd.safetensors");
  return (name.find("reviewkd") == std::string::npos ? features : review).at(name);
}

// Inputs of real widths are functions of a key and the element's number.
at::Tensor by_formula(const nlohmann::json& about) {
  const auto shape = about.at("shape").get<std::vector<std::int64_t>>();
  const std::string kind = about.at("kind");
  const auto key = about.at("key").get<std::uint32_t>();
  at::Tensor tensor = at::empty(shape, at::kFloat);
  float* values = tensor.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    std::uint32_t h = static_cast<std::uint32_t>(i) + key;
    h = (h ^ h >> 16) * 0x7FEB352DU;
    h = (h ^ h >> 16) * 0x846CA68BU;
    h ^= h >> 16;
    const double u = (h >> 8) * 0x1p-24 - 0.5;
    double value = 2 * u;  // signed
    if (kind == "relu") value = std::max(2 * u, 0.0);
    if (kind == "positive") value = u + 0.5;
    if (kind == "scale") value = 1 + u / 4;
    if (kind == "bias") value = u / 4;
    if (kind == "weight") value = u / 16;
    values[i] = static_cast<float>(value);
  }
  return tensor;
}

struct Method {
  const char* name;
  const char* row;
  const char* parameters;  // where the file has the projections
  std::vector<const char*> student, teacher;
  std::map<std::string, double> settings;  // beside what `hyper` says
};

void PrintTo(const Method& method, std::ostream* out) { *out << method.name; }

const Method kMethods[] = {
    {"at", "at", "", {"f1", "f2", "f3"}, {"f1", "f2", "f3"}, {}},
    {"sp", "sp", "", {"f1", "f2", "f3"}, {"f1", "f2", "f3"}, {}},
    {"fitnet", "fitnet", "fitnet", {"f1", "f2", "f3"}, {"f1", "f2", "f3"}, {}},
    {"fitnet_1x1", "fitnet", "fitnet_1x1", {"f0"}, {"f1"}, {{"fitnet_hint", 1}}},
    {"fitnet_1x1_norelu", "fitnet", "fitnet_1x1", {"f0"}, {"f1"}, {{"fitnet_hint", 1}, {"fitnet_relu", 0}}},
    {"rkd", "rkd", "", {"pooled"}, {"pooled"}, {}},
    {"reviewkd", "reviewkd", "reviewkd", {"f1", "f2", "f3", "pooled"}, {"f1", "f2", "f3", "pooled"}, {}},
    {"itrd", "itrd", "itrd", {"pooled"}, {"pooled"}, {}},
    {"itrd_alpha101", "itrd", "itrd", {"pooled"}, {"pooled"}, {}},
};
const Method kCrd{"crd", "crd", "crd", {"pooled"}, {"pooled"}, {}};

// What `hyper` calls the settings.
const std::map<std::string, std::string> kSettings = {{"at.weight", "at_weight"},
                                                      {"sp.weight", "sp_weight"},
                                                      {"fitnet.weight", "fitnet_weight"},
                                                      {"fitnet.hint", "fitnet_hint"},
                                                      {"rkd.w_distance", "rkd_distance"},
                                                      {"rkd.w_angle", "rkd_angle"},
                                                      {"reviewkd.weight", "reviewkd_weight"},
                                                      {"reviewkd.mid_channels", "reviewkd_channels"},
                                                      {"itrd.alpha", "itrd_alpha"},
                                                      {"itrd.w_correlation", "itrd_correlation"},
                                                      {"itrd.w_mutual", "itrd_mutual"},
                                                      {"crd.weight", "crd_weight"},
                                                      {"crd.T", "crd_temperature"},
                                                      {"crd.momentum", "crd_momentum"},
                                                      {"crd.negatives", "crd_negatives"}};

enum class Inputs { kStored, kByFormula };

// A method's loss with the file's inputs and parameters, in one precision.
class Golden {
 public:
  Golden(const Method& method, Inputs inputs, at::ScalarType dtype) : method_(method), inputs_(inputs), dtype_(dtype) {
    for (const auto* name : method.student) student_.features.push_back(feature("s.", name));
    for (const auto* name : method.teacher) teacher_.features.push_back(feature("t.", name));
    for (auto& [name, tensor] : student_.features) tensor.requires_grad_();
  }

  at::Tensor tensor(const std::string& name) const {
    const at::Tensor found =
        inputs_ == Inputs::kStored ? stored(name) : by_formula(expected().at("features_full_tensors").at(name));
    return found.to(dtype_, /*non_blocking=*/false, /*copy=*/true);
  }
  const nlohmann::json& numbers(const std::string& name) const {
    return expected().at(inputs_ == Inputs::kStored ? "features" : "features_full").at(name);
  }
  const nlohmann::json& tolerance(const std::string& name) const {
    return expected().at("methods").at(name).at("tolerance").at(dtype_ == at::kDouble ? "float64" : "float32");
  }

  DistillConfig config(const std::string& name) const {
    DistillConfig config;
    for (const auto& setting : distillation_loss_registry().at(method_.row).settings)
      config.loss_settings[setting.name] = setting.value;
    for (const auto& [key, value] : numbers(name).at("hyper").items()) {
      const auto known = kSettings.find(std::string(method_.row) + "." + key);
      if (known != kSettings.end() && value.is_number()) config.loss_settings[known->second] = value;
    }
    for (const auto& [key, value] : method_.settings) config.loss_settings[key] = value;
    return config;
  }

  LossContext context() const {
    LossContext context;
    context.student = shapes(student_);
    context.teachers = {shapes(teacher_)};
    return context;
  }

  // Gives the loss's parameters the file's values.
  void load(const DistillationLoss& loss) const {
    for (const auto& [name, tensor] : loss.parameters()) {
      const at::Tensor value = this->tensor("param." + std::string(method_.parameters) + name.substr(1));
      ASSERT_EQ(value.sizes(), tensor.sizes()) << name;
      at::Tensor(tensor).set_data(value);
    }
  }

  DistillationInput input() const { return {student_, {&teacher_}, {}, {}, {}, {}}; }

  // Compares the terms, and the gradients that their total has.
  void expect(const std::string& name, const DistillationLoss& loss, const LossTerms& terms) const {
    const nlohmann::json &right = numbers(name), &allowed = tolerance(name);
    const double relative = allowed.at("loss_relative"), total = right.at("loss");
    EXPECT_NEAR(terms.total().item<double>(), total, relative * std::abs(total));
    ASSERT_EQ(terms.terms.size(), right.at("parts").size());
    for (const auto& term : terms.terms) {
      const double part = right.at("parts").at(term.name);
      const double near = dtype_ == at::kDouble ? relative * std::max(std::abs(part), 1e-3 * std::abs(total))
                                                : relative * std::abs(part) + 1e-6;
      EXPECT_NEAR(term.value.item<double>(), part, near) << term.name;
    }
    for (const auto& [feature, tensor] : student_.features) tensor.mutable_grad() = at::Tensor();
    for (const auto& [parameter, tensor] : loss.parameters()) tensor.mutable_grad() = at::Tensor();
    terms.total().backward();
    compare_gradients(name, loss, right.at("grad_norm"), allowed.at("grad_of_max"));
  }

 private:
  NamedTensor feature(const char* whose, const char* name) const { return {name, tensor(std::string(whose) + name)}; }

  static std::vector<FeatureShape> shapes(const Outputs& outputs) {
    std::vector<FeatureShape> all;
    for (const auto& [name, tensor] : outputs.features) all.push_back({name, tensor.sizes().slice(1).vec()});
    return all;
  }

  void compare_gradients(const std::string& name, const DistillationLoss& loss, const nlohmann::json& norms,
                         double of_max) const {
    std::size_t compared = 0;
    for (const auto& [feature, tensor] : student_.features) {
      const std::string full = name + ".s." + feature;
      if (!norms.contains(full)) {
        EXPECT_FALSE(tensor.grad().defined()) << full;
        continue;
      }
      compare(full, tensor.grad(), norms.at(full), of_max, 0);
      ++compared;
    }
    double largest = 0;
    for (const auto& [parameter, tensor] : loss.parameters()) largest = std::max(largest, size_of(tensor.grad()));
    for (const auto& [parameter, tensor] : loss.parameters()) {
      const std::string full = name + parameter.substr(1);
      compare(full, tensor.grad(), norms.at(full), of_max, largest);
      ++compared;
    }
    EXPECT_EQ(compared, norms.size());
  }

  // Of stored inputs the gradient itself is known, else its length.
  double size_of(const at::Tensor& gradient) const {
    return (inputs_ == Inputs::kStored ? gradient.abs().max() : gradient.norm()).item<double>();
  }

  void compare(const std::string& name, const at::Tensor& gradient, double norm, double of_max, double largest) const {
    ASSERT_TRUE(gradient.defined()) << name;
    EXPECT_EQ(gradient.scalar_type(), dtype_) << name;
    double size = norm, difference = std::abs(gradient.norm().item<double>() - norm);
    if (inputs_ == Inputs::kStored) {
      const at::Tensor right = stored("grad." + name).to(at::kDouble);
      size = right.abs().max().item<double>();
      difference = (gradient.to(at::kDouble) - right).abs().max().item<double>();
    }
    // What is nothing but rounding, as a bias before a normalisation has it, is held against the largest gradient.
    if (size < 1e-3 * largest) size = largest;
    EXPECT_LE(difference, of_max * size) << name;
  }

  const Method& method_;
  Inputs inputs_;
  at::ScalarType dtype_;
  Outputs student_, teacher_;
};

class FeatureGolden : public ::testing::TestWithParam<std::tuple<Method, Inputs, at::ScalarType>> {};

TEST_P(FeatureGolden, IsAsItsAuthorsComputeIt) {
  const auto& [method, inputs, dtype] = GetParam();
  const Golden golden(method, inputs, dtype);
  const DistillConfig config = golden.config(method.name);
  const auto loss = distillation_loss_registry().at(method.row).make(config, golden.context());
  golden.load(*loss);
  DistillationInput input = golden.input();
  const double ramp = golden.numbers(method.name).at("hyper").value("warmup_factor", 1.0);
  const auto warm_up = config.loss_settings.find("reviewkd_warm_up");
  if (warm_up != config.loss_settings.end()) input.epoch = at::tensor(ramp * warm_up->second - 1);
  golden.expect(method.name, *loss, (*loss)(input));
}

class GivenContrast final : public ContrastiveDistillation {
 public:
  using ContrastiveDistillation::ContrastiveDistillation, ContrastiveDistillation::negatives;
  at::Tensor rows;

 protected:
  Contrast contrast(std::size_t, const DistillationInput&) const override {
    return {rows, at::ones_like(rows, at::kBool)};
  }
};

const at::Tensor& buffer(const DistillationLoss& loss, const std::string& name) {
  for (const auto& named : loss.buffers())
    if (named.name == "0." + name) return named.tensor;
  TORCH_CHECK(false, name);
}

class ContrastGolden : public ::testing::TestWithParam<std::tuple<Inputs, at::ScalarType>> {};

TEST_P(ContrastGolden, TwoStepsAreAsTheirAuthorsComputeThem) {
  const auto& [inputs, dtype] = GetParam();
  const Golden golden(kCrd, inputs, dtype);
  DistillConfig config = golden.config("crd_step1");
  const at::Tensor bank = golden.tensor("crd.memory_v1");
  config.loss_settings.at("crd_width") = static_cast<double>(bank.size(1));
  LossContext context = golden.context();
  context.labels = at::arange(bank.size(0), at::kLong);  // all of different classes: the indices are given
  GivenContrast loss(config, context);
  golden.load(loss);
  for (const auto* name : {"memory_v1", "memory_v2"})
    at::Tensor(buffer(loss, name)).set_data(golden.tensor("crd." + std::string(name)));
  at::Tensor(buffer(loss, "normalisers")).set_data(buffer(loss, "normalisers").to(dtype));
  for (const std::string step : {"1", "2"}) {
    const std::string name = "crd_step" + step;
    const nlohmann::json &hyper = golden.numbers(name).at("hyper"), &allowed = golden.tolerance(name);
    DistillationInput input = golden.input();
    input.indices = stored("crd.index" + step);
    loss.rows = stored("crd.contrast" + step);
    ASSERT_EQ(loss.negatives() + 1, loss.rows.size(1));
    golden.expect(name, loss, loss(input));
    const double relative = allowed.at("loss_relative");
    for (const auto& [side, key] : {std::pair(0, "Z_student"), std::pair(1, "Z_teacher")})
      EXPECT_NEAR(buffer(loss, "normalisers")[side].item<double>(), hyper.at(key),
                  relative * hyper.at(key).get<double>());
    EXPECT_EQ(buffer(loss, "steps").item<int>(), std::stoi(step));
    if (inputs != Inputs::kStored) continue;
    for (const std::string v : {"memory_v1", "memory_v2"}) {
      const at::Tensor right = stored("crd." + v + "_after" + step);
      EXPECT_LE((buffer(loss, v) - right).abs().max().item<double>(), 2e-7) << v << " after step " << step;
    }
  }
}

std::string name_of(Inputs inputs, at::ScalarType dtype) {
  return std::string(inputs == Inputs::kStored ? "stored" : "full") + (dtype == at::kDouble ? "_float64" : "_float32");
}

const auto kInputs = ::testing::Values(Inputs::kStored, Inputs::kByFormula);
const auto kPrecisions = ::testing::Values(at::kDouble, at::kFloat);

INSTANTIATE_TEST_SUITE_P(Methods, FeatureGolden,
                         ::testing::Combine(::testing::ValuesIn(kMethods), kInputs, kPrecisions),
                         [](const auto& about) {
                           return std::string(std::get<0>(about.param).name) + "_" +
                                  name_of(std::get<1>(about.param), std::get<2>(about.param));
                         });
INSTANTIATE_TEST_SUITE_P(Steps, ContrastGolden, ::testing::Combine(kInputs, kPrecisions),
                         [](const auto& about) { return name_of(std::get<0>(about.param), std::get<1>(about.param)); });

}  // namespace
}  // namespace ekd
