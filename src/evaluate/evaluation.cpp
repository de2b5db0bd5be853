#include "ekd/evaluate/evaluation.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <filesystem>

#include "ekd/core/atomic_file.h"
#include "ekd/core/device.h"
#include "ekd/core/error.h"
#include "ekd/core/failure.h"
#include "ekd/core/strict_json.h"
#include "ekd/data/load.h"
#include "ekd/data/settings.h"
#include "ekd/evaluate/model_file.h"
#include "ekd/evaluate/predictions.h"
#include "ekd/metrics/evaluate.h"
#include "ekd/metrics/temperature.h"
#include "ekd/models/registry.h"
#include "ekd/runs/run_dir.h"
#include "ekd/settings/config_io.h"

namespace ekd {
namespace {

// The data section of a run's config.json.
DataConfig data_of_run(const std::string& run) {
  const std::string path = RunFiles(run).config();
  nlohmann::json config;
  try {
    config = read_own_json(path);
  } catch (const IoError& error) {
    throw WeightsError(error.what());
  }
  DataConfig stored;
  if (config.contains("data")) apply_json(data_fields(stored), {{"data", config["data"]}}, path);
  return stored;
}

// Whether a setting decides which images are in one of the splits.
bool decides(const std::string& key, const std::set<std::string>& splits) {
  if (key == "data.train_limit") return splits.contains("train");
  if (key == "data.test_limit") return splits.contains("test");
  if (key == "data.val_size") return splits.contains("train") || splits.contains("val");
  return true;
}

// Which images are asked about: the settings given, else those of the runs under evaluation. `keys` are those of the
// settings that were given; `runs` are run directories. Throws UsageError where runs disagree about another one that
// decides which images are in one of the `splits` ("train", "val", "test").
DataConfig evaluation_data(const DataConfig& given, const std::set<std::string>& keys,
                           const std::vector<std::string>& runs, const std::set<std::string>& splits) {
  if (runs.empty()) return given;
  DataConfig first = data_of_run(runs.front()), result = first, ours = given;
  const auto before = data_fields(first), fields = data_fields(result), typed = data_fields(ours);
  for (std::size_t i = 1; i < runs.size(); ++i) {
    DataConfig other = data_of_run(runs[i]);
    const auto others = data_fields(other);
    for (std::size_t f = 0; f < fields.size(); ++f)
      if (decides(fields[f].key, splits) && !keys.contains(fields[f].key) &&
          field_json(others[f]) != field_json(before[f]))
        throw UsageError(runs[0] + " and " + runs[i] +
                         " were trained with different data settings; say which to use with " + fields[f].flag);
  }
  for (std::size_t f = 0; f < fields.size(); ++f)
    if (keys.contains(fields[f].key)) set_field(fields[f], field_json(typed[f]));
  return result;
}

const ImageSet& split_of(const Dataset& data, const std::string& split) {
  if (split == "train") return data.train;
  const ImageSet& set = split == "val" ? data.val : data.test;
  if (set.size() == 0)
    throw UsageError("--split " + split + ": there is none; --val-size N holds out the last N training records");
  return set;
}

// What is written must not be what is read. `sources` are those of the members that are networks.
void check_output(const EvaluationRequest& request, const std::vector<ModelSource>& sources) {
  if (request.save_predictions.empty()) return;
  std::vector<std::filesystem::path> read{request.fit_on};
  for (std::size_t i = 0; i < sources.size(); ++i)
    read.push_back(request.members[i].predictions ? std::filesystem::path(request.members[i].path) : sources[i].file);
  for (const auto& path : read) {
    std::error_code error;
    if (std::filesystem::is_regular_file(path, error) &&
        std::filesystem::equivalent(path, request.save_predictions, error))
      throw UsageError("--save-predictions " + request.save_predictions + ": is " + path.string() +
                       ", which is read here");
  }
}

// The splits that are asked about.
std::set<std::string> splits_of(const EvaluationRequest& request) {
  std::set<std::string> splits{request.split};
  if (request.fit_temperature && request.fit_on.empty()) splits.insert("val");
  return splits;
}

ImageSet on_device(const ImageSet& set, at::Device device) { return {set.images.to(device), set.labels.to(device)}; }

// Loads the data once and asks every network; saved predictions need neither.
class Networks {
 public:
  explicit Networks(const EvaluationRequest& request) : request_(request) {
    set_threads(request.threads);
    device_ = resolve_device(request.device);
    precision_ = resolve_precision(request.precision, device_);
    std::vector<std::string> runs;
    for (const auto& member : request.members) {
      sources_.push_back(member.predictions ? ModelSource{} : resolve_model_source(member.path));
      if (!member.predictions && !sources_.back().run.empty()) runs.push_back(sources_.back().run.string());
    }
    check_output(request, sources_);
    const bool any = std::ranges::any_of(request.members, [](const auto& member) { return !member.predictions; });
    if (!any) return;
    data_ = load_dataset(evaluation_data(request.data, request.given, runs, splits_of(request)));
    spdlog::debug("{} on {}, {}: {} test images", data_->name, compute_description(device_), precision_name(precision_),
                  data_->test.size());
  }

  at::Device device() const { return device_; }
  bool has_validation() const { return data_ && data_->val.size() > 0; }

  Predictions ask(std::size_t member, const std::string& split) const {
    const ImageSet set = on_device(split_of(*data_, split), device_);
    const LoadedModel loaded = load_model(sources_[member], request_.model);
    if (loaded.model->spec().classes != data_->classes) {
      throw WeightsError(sources_[member].file.string() + ": tells " + std::to_string(loaded.model->spec().classes) +
                         " classes apart, the data has " + std::to_string(data_->classes) +
                         " (--classes N takes the first N)");
    }
    try {
      loaded.model->to(device_);
      Predictions said = predict(*loaded.model, set, {data_->normalisation, request_.batch_size, precision_});
      if (!said.logits.isfinite().all().item<bool>())
        throw NonFiniteError(sources_[member].file.string() + ": its answers to the " + split +
                             " split are not finite");
      return said;
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {
      const std::string doing =
          "evaluating " + loaded.model->spec().name + " with batch size " + std::to_string(request_.batch_size);
      const std::string advice = memory_advice(error, doing, device_);
      if (!advice.empty()) throw MemoryError(advice);
      throw;
    }
  }

 private:
  const EvaluationRequest& request_;
  at::Device device_ = at::kCPU;
  Precision precision_ = Precision::kFp32;
  std::vector<ModelSource> sources_;
  std::optional<Dataset> data_;
};

void check_agreement(const EvaluationRequest& request, const std::vector<Predictions>& members) {
  for (std::size_t i = 1; i < members.size(); ++i) {
    const bool same =
        members[i].logits.sizes() == members[0].logits.sizes() && at::equal(members[i].labels, members[0].labels);
    if (!same)
      throw WeightsError(request.members[i].path + ": its number of samples, classes or its labels differ from " +
                         request.members[0].path);
  }
}

// Double [N, C]: logits of the member, or the log of the members' weighted mean probability.
at::Tensor combine(const EvaluationRequest& request, const std::vector<Predictions>& members) {
  if (members.size() == 1) return scaled_logits(members.front().logits);
  std::vector<at::Tensor> log_probs;
  std::vector<double> weights;
  const double largest = std::ranges::max(request.members, {}, &EvaluationMember::weight).weight;
  for (std::size_t i = 0; i < members.size(); ++i) {
    log_probs.push_back(log_probabilities(members[i].logits));
    weights.push_back(request.members[i].weight / largest);  // whose sum is finite
  }
  return ensemble_log_probabilities(log_probs, weights);
}

std::vector<Predictions> answers(const EvaluationRequest& request, const Networks& networks, const std::string& split) {
  std::vector<Predictions> members;
  for (std::size_t i = 0; i < request.members.size(); ++i) {
    members.push_back(request.members[i].predictions ? load_predictions(request.members[i].path)
                                                     : networks.ask(i, split));
  }
  check_agreement(request, members);
  return members;
}

TemperatureFit fit_on_file(const EvaluationRequest& request, std::int64_t classes) {
  const Predictions held_out = load_predictions(request.fit_on);
  if (held_out.logits.size(1) != classes) {
    throw WeightsError(request.fit_on + ": has " + std::to_string(held_out.logits.size(1)) +
                       " classes, the members have " + std::to_string(classes));
  }
  for (const auto& member : request.members) {
    std::error_code error;
    if (member.predictions && std::filesystem::equivalent(member.path, request.fit_on, error))
      spdlog::warn("--fit-on is the file under evaluation: the result flatters");
  }
  return fit_temperature(held_out.logits, held_out.labels);
}

TemperatureFit fit(const EvaluationRequest& request, const Networks& networks, std::int64_t classes) {
  if (!request.fit_on.empty()) return fit_on_file(request, classes);
  if (request.split == "val")
    spdlog::warn("the temperature is fitted on the split it is evaluated on: the result flatters");
  const auto members = answers(request, networks, "val");
  return fit_temperature(combine(request, members), members.front().labels);
}

void check_request(const EvaluationRequest& request) {
  if (request.members.empty()) throw UsageError("evaluate needs a RUN_OR_WEIGHTS or --predictions FILE");
  const bool weighted = std::ranges::any_of(request.members, [](const auto& member) { return member.weight > 0; });
  if (!weighted) throw UsageError("at least one member needs a weight above 0");
  if (request.temperature && request.fit_temperature)
    throw UsageError("--temperature and --fit-temperature exclude each other");
  if (!request.fit_on.empty() && !request.fit_temperature) throw UsageError("--fit-on goes with --fit-temperature");
}

void check_fit(const EvaluationRequest& request, const Networks& networks) {
  if (!request.fit_temperature || !request.fit_on.empty()) return;
  const bool saved = std::ranges::any_of(request.members, [](const auto& member) { return member.predictions; });
  if (saved)
    throw UsageError("--fit-temperature: saved predictions have no validation split; name one with --fit-on FILE");
  if (!networks.has_validation())
    throw UsageError(
        "--fit-temperature fits on the validation split, and there is none; use --val-size N or --fit-on FILE");
}

// The members' logits, or for an ensemble the log of its mean probability, in the finest dtype of the members.
void save(const EvaluationRequest& request, const std::vector<Predictions>& members, const at::Tensor& log_probs) {
  const nlohmann::json about = {{"split", request.split}, {"members", to_json(request.members)}};
  auto dtype = at::kFloat;
  for (const auto& member : members) dtype = at::promoteTypes(dtype, member.logits.scalar_type());
  const at::Tensor logits = members.size() == 1 ? members.front().logits : log_probs.to(dtype);
  save_predictions(request.save_predictions, {logits, members.front().labels}, about);
}

EvaluationResult evaluate(const EvaluationRequest& request, const Networks& networks) {
  check_fit(request, networks);
  const auto start = std::chrono::steady_clock::now();
  const auto members = answers(request, networks, request.split);
  const at::Tensor unscaled = combine(request, members);
  EvaluationResult result{{}, request.temperature, std::nullopt, request.members};
  if (request.fit_temperature) {
    const TemperatureFit fitted = fit(request, networks, unscaled.size(1));
    if (const auto warning = bound_warning(fitted); !warning.empty()) spdlog::warn("{}", warning);
    result.temperature = fitted.temperature;
    result.fitted_nll = fitted.nll;
  }
  const at::Tensor logits = result.temperature ? scaled_logits(unscaled, *result.temperature) : unscaled;
  result.metrics = compute_metrics(logits, members.front().labels, {request.bins.begin(), request.bins.end()});
  if (!request.save_predictions.empty()) save(request, members, unscaled);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  spdlog::debug("predictions and metrics of {} images: {:.2f} images/s", unscaled.size(0),
                static_cast<double>(unscaled.size(0)) / seconds);
  return result;
}

}  // namespace

std::vector<Field> evaluation_fields(EvaluationRequest& request) {
  std::vector<Field> fields = data_fields(request.data);
  fields.insert(
      fields.end(),
      {{"model.name", &request.model, or_empty(model_names()), "--model",
        "the network, for weights that do not say it"},
       {"evaluate.split", &request.split, one_of({"train", "val", "test"}), "--split", "the images to evaluate on"},
       {"evaluate.bins", &request.bins, between(1, 100'000), "--bins", "numbers of bins to report"},
       {"evaluate.temperature", &request.temperature, above(0), "--temperature", "divide logits by this"},
       {"evaluate.fit_temperature",
        &request.fit_temperature,
        {},
        "--fit-temperature",
        "fit the temperature on the validation split, or on --fit-on"},
       {"evaluate.fit_on", &request.fit_on, {}, "--fit-on", "predictions to fit the temperature on"},
       {"evaluate.save_predictions",
        &request.save_predictions,
        {},
        "--save-predictions",
        "write logits and labels to this file"},
       {"eval.batch_size", &request.batch_size, between(1, kMaxCount), "--batch-size", "images per step"},
       {"run.device", &request.device, {}, "--device", "auto, cpu, cuda or cuda:N"},
       {"run.precision", &request.precision, one_of({"auto", "fp32", "bf16"}), "--precision",
        "auto: bf16 where the hardware has it"},
       {"run.threads", &request.threads, between(0, 1024), "--threads",
        "CPU threads, at most one per core; 0: OMP_NUM_THREADS, else one per core"}});
  return fields;
}

EvaluationMember parse_member(const std::string& text, bool predictions) {
  EvaluationMember member{text, 1, predictions};
  const auto at = text.rfind('@');
  if (at == std::string::npos || at == 0) return member;
  const char* end = text.data() + text.size();
  double weight = 0;
  const auto parsed = std::from_chars(text.data() + at + 1, end, weight);
  if (parsed.ec != std::errc{} || parsed.ptr != end) return member;
  if (!std::isfinite(weight) || weight < 0) throw UsageError("'" + text + "': a weight is a number >= 0");
  return {text.substr(0, at), weight, predictions};
}

nlohmann::ordered_json to_json(const std::vector<EvaluationMember>& members) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& member : members) list.push_back({{"path", member.path}, {"weight", member.weight}});
  return list;
}

nlohmann::ordered_json to_json(const EvaluationResult& result) {
  nlohmann::ordered_json json = to_json(result.metrics);
  json["temperature"] = nullptr;
  if (result.temperature) {
    json["temperature"] = {{"value", *result.temperature}, {"nll", nullptr}};
    if (result.fitted_nll) json["temperature"]["nll"] = *result.fitted_nll;
  }
  json["members"] = to_json(result.members);
  return json;
}

EvaluationResult run_evaluation(const EvaluationRequest& request) {
  check_request(request);
  at::Device device = at::kCPU;
  try {
    const Networks networks(request);
    device = networks.device();
    return evaluate(request, networks);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    const std::string advice = memory_advice(error, "the evaluation", device);
    if (!advice.empty()) throw MemoryError(advice);
    throw;
  }
}

}  // namespace ekd
