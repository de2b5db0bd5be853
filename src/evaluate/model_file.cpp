#include "ekd/evaluate/model_file.h"

#include <ATen/TensorOperators.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <optional>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/sha256.h"
#include "ekd/core/strict_json.h"
#include "ekd/core/tensor_file.h"
#include "ekd/core/text.h"
#include "ekd/data/record.h"
#include "ekd/models/registry.h"
#include "ekd/runs/run_dir.h"

namespace ekd {
namespace {

namespace fs = std::filesystem;

std::optional<std::int64_t> positive_number(const std::string& text) {
  const auto number = whole_number(text);
  return number && *number >= 1 && *number <= 1'000'000 ? number : std::nullopt;
}

using Shapes = std::map<std::string, std::vector<std::int64_t>>;

Shapes shapes_of(const std::vector<NamedTensor>& tensors) {
  Shapes shapes;
  for (const auto& [name, tensor] : tensors) shapes[name] = tensor.sizes().vec();
  return shapes;
}

// The classifier's weight and bias, the last parameters of these networks: "fc.weight", "fc.bias".
struct Head {
  std::string weight, bias;
};
Head head_of(const std::vector<NamedTensor>& layout) {
  const auto bias = std::ranges::find_if(layout, [](const NamedTensor& one) { return !one.tensor.requires_grad(); });
  return {(bias - 2)->name, (bias - 1)->name};
}

// The size of the classifier's bias tells the classes.
std::optional<std::int64_t> classes_by_head(const TensorFile& file, const std::vector<NamedTensor>& layout) {
  const at::Tensor* bias = file.find(head_of(layout).bias);
  if (bias == nullptr || bias->dim() != 1 || bias->size(0) < 1) return std::nullopt;
  return bias->size(0);
}

// The stem's weight, the first parameter, tells the images' channels.
std::int64_t channels_by_stem(const TensorFile& file, const std::vector<NamedTensor>& layout) {
  const at::Tensor* stem = file.find(layout.front().name);
  return stem != nullptr && stem->dim() == 4 && stem->size(1) >= 1 && stem->size(1) <= ModelSpec().channels
             ? stem->size(1)
             : ModelSpec().channels;
}

bool have_the_same_names(const Shapes& a, const Shapes& b) {
  return std::ranges::equal(a, b, {}, &Shapes::value_type::first, &Shapes::value_type::first);
}

// The network that has tensors of these names and shapes, for any number of classes and channels, and no others; where
// there is none, the first that has the names.
std::optional<std::string> model_by_tensors(const Shapes& stored) {
  std::optional<std::string> by_names;
  for (const auto& name : model_registry().names()) {
    const auto layout = model_layout({.name = name});
    Shapes own = shapes_of(layout);
    if (!have_the_same_names(own, stored)) continue;
    if (!by_names) by_names = name;
    // What the data decide is taken over.
    const Head head = head_of(layout);
    const auto take_size = [&](const std::string& tensor, std::size_t axis) {
      const auto& sizes = stored.at(tensor);
      if (axis < sizes.size()) own[tensor][axis] = sizes[axis];
    };
    take_size(layout.front().name, 1);
    take_size(head.weight, 0);
    take_size(head.bias, 0);
    if (own == stored) return name;
  }
  return by_names;
}

// What stands before all names, "module." or "net.student.", of a known network.
std::optional<std::string> prefix_before_names(Shapes stored) {
  std::string prefix;
  while (!stored.empty()) {
    const std::string& name = stored.begin()->first;
    const std::string first = name.substr(0, name.find('.') + 1);
    Shapes rest;
    for (const auto& [tensor, shape] : stored)
      if (!first.empty() && tensor.starts_with(first)) rest[tensor.substr(first.size())] = shape;
    if (rest.size() < stored.size()) return std::nullopt;
    prefix += first;
    stored = std::move(rest);
    if (model_by_tensors(stored)) return prefix;
  }
  return std::nullopt;
}

// Why tensors may not fit the network `name`; empty where that cannot be told.
std::string cause_of_misfit(const TensorFile& file, const std::string& name) {
  const Shapes stored = shapes_of(file.tensors);
  if (const auto other = model_by_tensors(stored); other && *other != name)
    return "; they are those of " + *other + ", not of " + name + " as was said";
  if (const auto prefix = prefix_before_names(stored))
    return *prefix == "module." ? "; all names begin with 'module.', as DataParallel writes them: "
                                  "scripts/convert_weights.py takes that off"
                                : "; all names begin with '" + *prefix + "': scripts/convert_weights.py --prefix " +
                                      *prefix + " takes that off";
  return "";
}

[[noreturn]] void reject_model(const TensorFile& file, const std::string& name) {
  throw WeightsError(file.path + ": is for the network '" + name + "', which this ekd does not have; it has " +
                     join(model_registry().names()));
}

// Before a network of that many classes is built.
void check_stated_classes(const TensorFile& file, const ModelSpec& spec, const std::vector<NamedTensor>& layout) {
  const auto stored = classes_by_head(file, layout);
  if (!stored || *stored == spec.classes) return;
  const Head head = head_of(layout);
  throw WeightsError(file.path + ": mis-shaped: its metadata states " + std::to_string(spec.classes) + " classes, " +
                     head.weight + " and " + head.bias + " are for " + std::to_string(*stored));
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
    if (!is_model(spec.name)) reject_model(file, spec.name);
    const auto layout = model_layout({.name = spec.name});
    check_stated_classes(file, spec, layout);
    spec.channels = channels_by_stem(file, layout);
    return spec;
  }
  const auto model = file.metadata.find("model");
  if (model != file.metadata.end()) {
    spec.name = model->second;
    if (!is_model(spec.name)) reject_model(file, spec.name);
  } else if (const auto by_names = model_by_tensors(shapes_of(file.tensors))) {
    spec.name = *by_names;
  } else if (!fallback_model.empty()) {
    spec.name = fallback_model;
  } else {
    throw WeightsError(file.path + ": its tensors fit none of " + join(model_registry().names()) +
                       " and its metadata names no network; --model names one" + cause_of_misfit(file, ""));
  }
  const auto layout = model_layout({.name = spec.name});
  const auto stated = file.metadata.find("num_classes");
  const auto classes = stated != file.metadata.end() ? positive_number(stated->second) : classes_by_head(file, layout);
  if (!classes) throw WeightsError(file.path + ": the number of classes cannot be told from its metadata or tensors");
  spec.classes = *classes;
  check_stated_classes(file, spec, layout);
  spec.channels = channels_by_stem(file, layout);
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

// "RUN:best" and "RUN:ema" in two, unless the whole text is a path that exists.
std::pair<std::string, std::string> split_source(const std::string& text) {
  if (!path_exists(text))
    for (const std::string suffix : {":best", ":ema"})
      if (text.ends_with(suffix)) return {text.substr(0, text.size() - suffix.size()), suffix};
  return {text, ""};
}

}  // namespace

bool source_exists(const std::string& text) { return path_exists(split_source(text).first); }

ModelSource resolve_model_source(const std::string& text) {
  const auto [path, which] = split_source(text);
  if (!path_exists(path)) throw WeightsError(path + ": no such run or weights file");
  if (!is_folder(path)) {
    if (!which.empty()) throw WeightsError(path + ": '" + which + "' goes with a run, not with a file");
    return {text, path, {}};
  }
  const RunFiles files(path);
  const fs::path file = which == ":best" ? files.best() : which == ":ema" ? files.ema() : files.last();
  if (!path_exists(file))
    throw WeightsError(path + ": holds no " + file.filename().string() + ": not a run, or none with a finished epoch" +
                       (which == ":ema" ? ", or one without --ema" : ""));
  if (run_state(path) != RunState::kFinished)
    spdlog::warn("{}: this run is not finished; its weights so far are used", path);
  return {text, file, path};
}

void copy_weights(const TensorFile& file, const Classifier& model) {
  const auto state = model_state(model);
  try {
    copy_into(state, file);
  } catch (const WeightsError& error) {
    throw WeightsError(error.what() + cause_of_misfit(file, model.spec().name));
  }
  for (const auto& [name, tensor] : state)
    if (tensor.is_floating_point() && !tensor.isfinite().all().item<bool>())
      throw WeightsError(file.path + ": '" + name + "' holds values that are not finite");
}

void check_channels(const ModelSource& source, const ModelSpec& spec, std::int64_t channels) {
  if (spec.channels == channels) return;
  throw WeightsError(source.file.string() + ": takes images of " + std::to_string(spec.channels) +
                     (spec.channels == 1 ? " channel" : " channels") + ", the data has " + std::to_string(channels));
}

LoadedModel load_model(const ModelSource& source, const std::string& fallback_model) {
  const TensorFile file = read_tensor_file(source.file);
  LoadedModel loaded{make_model(identify(file, fallback_model), /*seed=*/0), {}, file.own, {}};
  if (file.own.is_object())
    loaded.normalisation = normalisation_from(value_or(file.own, "normalisation", nlohmann::json::object()));
  copy_weights(file, *loaded.model);
  loaded.model->set_training(false);
  loaded.sha256 = digest(model_state(*loaded.model));
  return loaded;
}

void save_weights(const fs::path& path, const ModelSpec& spec, const std::vector<NamedTensor>& state,
                  const nlohmann::json& more) {
  nlohmann::json own = more;
  own["kind"] = "weights";
  own["model"] = spec.name;
  own["classes"] = spec.classes;
  write_tensor_file(path, state, own);
}

}  // namespace ekd
