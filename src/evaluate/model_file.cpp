#include "ekd/evaluate/model_file.h"

#include <spdlog/spdlog.h>

#include <charconv>
#include <optional>
#include <set>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/sha256.h"
#include "ekd/core/tensor_file.h"
#include "ekd/models/registry.h"
#include "ekd/runs/run_dir.h"

namespace ekd {
namespace {

namespace fs = std::filesystem;

std::optional<std::int64_t> positive_number(const std::string& text) {
  std::int64_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = parsed.ec == std::errc{} && parsed.ptr == text.data() + text.size();
  return whole && number >= 1 && number <= 1'000'000 ? std::optional(number) : std::nullopt;
}

std::set<std::string> names_of(const std::vector<NamedTensor>& tensors) {
  std::set<std::string> names;
  for (const auto& tensor : tensors) names.insert(tensor.name);
  return names;
}

// The size of the classifier's bias, the last one-dimensional parameter of these networks, tells the classes.
std::optional<std::int64_t> classes_by_head(const TensorFile& file, const std::string& model_name) {
  const auto model = make_model({.name = model_name}, /*seed=*/0);
  const auto parameters = model->parameters();
  const at::Tensor* bias = file.find(parameters.back().name);
  if (bias == nullptr || bias->dim() != 1 || bias->size(0) < 1) return std::nullopt;
  return bias->size(0);
}

// The network all of whose tensor names, and no others, are in the file.
std::optional<std::string> model_by_names(const TensorFile& file) {
  const auto stored = names_of(file.tensors);
  for (const auto& name : model_registry().names())
    if (names_of(model_state(*make_model({.name = name}, /*seed=*/0))) == stored) return name;
  return std::nullopt;
}

[[noreturn]] void reject_model(const TensorFile& file, const std::string& name) {
  throw WeightsError(file.path + ": is for the network '" + name + "', which this ekd does not have; it has " +
                     join(model_registry().names()));
}

// Before a network of that many classes is built.
void check_stated_classes(const TensorFile& file, const ModelSpec& spec) {
  const auto stored = classes_by_head(file, spec.name);
  if (!stored || *stored == spec.classes) return;
  const auto parameters = make_model({.name = spec.name}, /*seed=*/0)->parameters();
  throw WeightsError(file.path + ": mis-shaped: its metadata states " + std::to_string(spec.classes) + " classes, " +
                     parameters[parameters.size() - 2].name + " and " + parameters.back().name + " are for " +
                     std::to_string(*stored));
}

ModelSpec identify(const TensorFile& file, const std::string& fallback_model) {
  ModelSpec spec;
  if (file.own.is_object()) {
    if (file.own.value("kind", "") != "weights") {
      throw WeightsError(file.path + ": holds " + file.own.value("kind", "something else") + ", not weights");
    }
    const bool named = file.own.contains("model") && file.own["model"].is_string() && file.own.contains("classes") &&
                       file.own["classes"].is_number_integer();
    if (!named) throw WeightsError(file.path + ": its metadata names no network");
    spec.name = file.own["model"].get<std::string>();
    spec.classes = file.own["classes"].get<std::int64_t>();
    if (spec.classes < 1 || spec.classes > 1'000'000)
      throw WeightsError(file.path + ": its metadata states an impossible number of classes");
    if (model_registry().find(spec.name) == nullptr) reject_model(file, spec.name);
    check_stated_classes(file, spec);
    return spec;
  }
  const auto model = file.metadata.find("model");
  if (model != file.metadata.end()) {
    spec.name = model->second;
    if (model_registry().find(spec.name) == nullptr) reject_model(file, spec.name);
  } else if (const auto by_names = model_by_names(file)) {
    spec.name = *by_names;
  } else if (!fallback_model.empty()) {
    spec.name = fallback_model;
  } else {
    throw WeightsError(file.path + ": its tensors fit none of " + join(model_registry().names()) +
                       " and its metadata names no network; --model names one");
  }
  const auto stated = file.metadata.find("num_classes");
  const auto classes =
      stated != file.metadata.end() ? positive_number(stated->second) : classes_by_head(file, spec.name);
  if (!classes) throw WeightsError(file.path + ": the number of classes cannot be told from its metadata or tensors");
  spec.classes = *classes;
  check_stated_classes(file, spec);
  return spec;
}

std::string digest(const std::vector<NamedTensor>& state) {
  Sha256 hash;
  for (const auto& [name, tensor] : state) {
    const at::Tensor flat = tensor.detach().contiguous();
    hash.update(name);
    for (const auto size : flat.sizes()) hash.update(&size, sizeof size);
    hash.update(flat.const_data_ptr(), flat.nbytes());
  }
  return hash.hex();
}

}  // namespace

ModelSource resolve_model_source(const std::string& text) {
  std::string path = text;
  bool best = false;
  if (!path_exists(path) && path.ends_with(":best")) {
    path.resize(path.size() - 5);
    best = true;
  }
  if (!path_exists(path)) throw WeightsError(path + ": no such run or weights file");
  if (!fs::is_directory(path)) {
    if (best) throw WeightsError(path + ": ':best' goes with a run, not with a file");
    return {text, path, {}};
  }
  const fs::path file = best ? RunFiles(path).best() : RunFiles(path).last();
  if (!path_exists(file))
    throw WeightsError(path + ": holds no " + file.filename().string() + ": not a run, or none with a finished epoch");
  if (run_state(path) != RunState::kFinished)
    spdlog::warn("{}: this run is not finished; its weights so far are used", path);
  return {text, file, path};
}

LoadedModel load_model(const ModelSource& source, const std::string& fallback_model) {
  const TensorFile file = read_tensor_file(source.file);
  LoadedModel loaded{make_model(identify(file, fallback_model), /*seed=*/0), {}, file.own};
  const auto state = model_state(*loaded.model);
  copy_into(state, file);
  loaded.model->set_training(false);
  loaded.sha256 = digest(state);
  return loaded;
}

void save_weights(const fs::path& path, const Classifier& model, const nlohmann::json& more) {
  nlohmann::json own = more;
  own["kind"] = "weights";
  own["model"] = model.spec().name;
  own["classes"] = model.spec().classes;
  write_tensor_file(path, model_state(model), own);
}

}  // namespace ekd
