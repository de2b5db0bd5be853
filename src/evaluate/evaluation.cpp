#include "ekd/evaluate/evaluation.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <map>

#include "ekd/core/device.h"
#include "ekd/core/error.h"
#include "ekd/data/load.h"
#include "ekd/data/settings.h"
#include "ekd/evaluate/model_file.h"
#include "ekd/evaluate/predictions.h"
#include "ekd/metrics/evaluate.h"
#include "ekd/settings/config_io.h"
#include "evaluate/asking.h"

namespace ekd {
namespace {

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
  return split == "train" ? data.train : split == "val" ? data.val : data.test;
}

// Throws UsageError where the split is empty.
const ImageSet& checked(const ImageSet& set, const std::string& split) {
  if (set.size() == 0)
    throw UsageError("--split " + split + ": there is none; --val-size N holds out the last N training records");
  return set;
}

// What is written must not be what is read. `sources` are those of the members that are networks.
void check_output(const EvaluationRequest& request, const std::vector<ModelSource>& sources) {
  if (request.save_predictions.empty()) return;
  std::vector<std::filesystem::path> read{request.temperature.fit_on};
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
  if (request.temperature.fit && request.temperature.fit_on.empty()) splits.insert("val");
  return splits;
}

ImageSet on_device(const ImageSet& set, at::Device device) {
  return set.size() == 0 ? set : ImageSet{set.images.to(device), set.labels.to(device)};
}

// Loads the data and the networks once and asks every network; saved predictions need neither.
class Networks {
 public:
  explicit Networks(const EvaluationRequest& request) : request_(request) {
    set_threads(request.inference.threads);
    device_ = resolve_device(request.inference.device);
    precision_ = resolve_precision(request.inference.precision, device_, /*dense=*/true);
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
    for (std::size_t i = 0; i < sources_.size(); ++i)
      loaded_.push_back(request.members[i].predictions ? LoadedModel{}
                                                       : load_model(sources_[i], request.inference.model));
    for (const auto& split : splits_of(request)) sets_[split] = on_device(split_of(*data_, split), device_);
  }

  at::Device device() const { return device_; }
  bool has_validation() const { return data_ && data_->val.size() > 0; }

  Predictions ask(std::size_t member, const std::string& split) const {
    const ImageSet& set = checked(sets_.at(split), split);
    const LoadedModel& loaded = loaded_[member];
    if (loaded.model->spec().classes != data_->classes) {
      throw WeightsError(sources_[member].file.string() + ": tells " + std::to_string(loaded.model->spec().classes) +
                         " classes apart, the data has " + std::to_string(data_->classes) +
                         " (--classes N takes the first N)");
    }
    check_channels(sources_[member], loaded.model->spec(), set.images.size(1));
    // What a network was trained under holds for other images as well, unless another one is asked for.
    const Normalisation normalisation = request_.given.contains("data.mean")
                                            ? data_->normalisation
                                            : loaded.normalisation.value_or(data_->normalisation);
    const PredictOptions options{normalisation, request_.inference.batch_size, precision_};
    return ask_network(loaded, sources_[member], set, options, "the " + split + " split");
  }

 private:
  const EvaluationRequest& request_;
  at::Device device_ = at::kCPU;
  Precision precision_ = Precision::kFp32;
  std::vector<ModelSource> sources_;
  std::optional<Dataset> data_;
  std::vector<LoadedModel> loaded_;
  std::map<std::string, ImageSet> sets_;  // on the device
};

std::vector<Predictions> answers(const EvaluationRequest& request, const Networks& networks, const std::string& split) {
  std::vector<Predictions> members;
  for (std::size_t i = 0; i < request.members.size(); ++i) {
    members.push_back(request.members[i].predictions ? load_predictions(request.members[i].path)
                                                     : networks.ask(i, split));
  }
  check_agreement(request.members, members);
  return members;
}

TemperatureFit fit(const EvaluationRequest& request, const Networks& networks, std::int64_t classes) {
  const std::string& file = request.temperature.fit_on;
  if (file.empty()) {
    if (request.split == "val")
      spdlog::warn("the temperature is fitted on the split it is evaluated on: the result flatters");
    const auto members = answers(request, networks, "val");
    return fit_temperature(combine(request.members, members), members.front().labels);
  }
  for (const auto& member : request.members) {
    std::error_code error;
    if (member.predictions && std::filesystem::equivalent(member.path, file, error))
      spdlog::warn("--fit-on is the file under evaluation: the result flatters");
  }
  return fit_on_file(file, classes);
}

void check_request(const EvaluationRequest& request) {
  if (request.members.empty()) throw UsageError("evaluate needs a RUN_OR_WEIGHTS or --predictions FILE");
  check_members(request.members);
  check_temperature(request.temperature);
}

void check_fit(const EvaluationRequest& request, const Networks& networks) {
  if (!request.temperature.fit || !request.temperature.fit_on.empty()) return;
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
  const at::Tensor unscaled = combine(request.members, members);
  EvaluationResult result{{}, std::nullopt, request.members};
  if (request.temperature.value) result.temperature = {*request.temperature.value, std::nullopt};
  if (request.temperature.fit) result.temperature = applied(fit(request, networks, unscaled.size(1)));
  const at::Tensor logits = result.temperature ? scaled_logits(unscaled, result.temperature->value) : unscaled;
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
  fields.push_back(
      {"evaluate.split", &request.split, one_of({"train", "val", "test"}), "--split", "the images to evaluate on"});
  fields.push_back({"evaluate.bins", &request.bins, between(1, 100'000), "--bins", "numbers of bins to report"});
  std::ranges::move(temperature_fields(request.temperature, "evaluate", "the validation split"),
                    std::back_inserter(fields));
  fields.push_back({"evaluate.save_predictions",
                    &request.save_predictions,
                    {},
                    "--save-predictions",
                    "write logits and labels to this file"});
  std::ranges::move(inference_fields(request.inference), std::back_inserter(fields));
  return fields;
}

nlohmann::ordered_json to_json(const EvaluationResult& result) {
  nlohmann::ordered_json json = to_json(result.metrics);
  json["temperature"] = to_json(result.temperature);
  json["members"] = to_json(result.members);
  return json;
}

EvaluationResult run_evaluation(const EvaluationRequest& request) {
  check_request(request);
  at::Device device = at::kCPU;
  return advising_on_memory("the evaluation", device, [&] {
    const Networks networks(request);
    device = networks.device();
    return evaluate(request, networks);
  });
}

}  // namespace ekd
