#include "ekd/evaluate/members.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "ekd/core/strict_json.h"
#include "ekd/metrics/evaluate.h"
#include "ekd/models/registry.h"
#include "ekd/runs/run_dir.h"
#include "ekd/settings/config_io.h"
#include "evaluate/asking.h"

namespace ekd {

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

nlohmann::ordered_json to_json(const std::optional<AppliedTemperature>& temperature) {
  if (!temperature) return nullptr;
  nlohmann::ordered_json json = {{"value", temperature->value}, {"nll", nullptr}};
  if (temperature->nll) json["nll"] = *temperature->nll;
  return json;
}

std::vector<Field> inference_fields(InferenceConfig& inference) {
  return {{"model.name", &inference.model, or_empty(model_names()), "--model",
           "the network, for weights that do not say it"},
          {"eval.batch_size", &inference.batch_size, between(1, kMaxCount), "--batch-size", "images per step"},
          {"run.device", &inference.device, {}, "--device", "auto, cpu, cuda or cuda:N"},
          {"run.precision", &inference.precision, one_of({"auto", "fp32", "bf16"}), "--precision",
           "auto: the faster one on this hardware"},
          {"run.threads", &inference.threads, between(0, 1024), "--threads",
           "CPU threads, at most one per core; 0: OMP_NUM_THREADS, else one per core"}};
}

std::vector<Field> temperature_fields(TemperatureConfig& temperature, const std::string& section,
                                      const std::string& fitted_on) {
  return {{section + ".temperature", &temperature.value, above(0), "--temperature", "divide logits by this"},
          {section + ".fit_temperature",
           &temperature.fit,
           {},
           "--fit-temperature",
           "fit the temperature on " + fitted_on + ", or on --fit-on"},
          {section + ".fit_on", &temperature.fit_on, {}, "--fit-on", "predictions to fit the temperature on"}};
}

void check_members(const std::vector<EvaluationMember>& members) {
  const bool weighted = std::ranges::any_of(members, [](const auto& member) { return member.weight > 0; });
  if (!weighted) throw UsageError("at least one member needs a weight above 0");
}

void check_temperature(const TemperatureConfig& temperature) {
  if (temperature.value && temperature.fit) throw UsageError("--temperature and --fit-temperature exclude each other");
  if (!temperature.fit_on.empty() && !temperature.fit) throw UsageError("--fit-on goes with --fit-temperature");
}

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

Predictions ask_network(const LoadedModel& loaded, const ModelSource& source, const ImageSet& set,
                        const PredictOptions& options, const std::string& images) {
  const std::string doing =
      "evaluating " + loaded.model->spec().name + " with batch size " + std::to_string(options.batch_size);
  return advising_on_memory(doing, set.images.device(), [&] {
    loaded.model->to(set.images.device());
    Predictions said = predict(*loaded.model, set, options);
    if (!said.logits.isfinite().all().item<bool>())
      throw NonFiniteError(source.file.string() + ": its answers to " + images + " are not finite");
    return said;
  });
}

void check_agreement(const std::vector<EvaluationMember>& members, const std::vector<Predictions>& answers) {
  for (std::size_t i = 1; i < answers.size(); ++i) {
    const bool same =
        answers[i].logits.sizes() == answers[0].logits.sizes() && at::equal(answers[i].labels, answers[0].labels);
    if (!same)
      throw WeightsError(members[i].path + ": its number of samples, classes or its labels differ from " +
                         members[0].path);
  }
}

at::Tensor combine(const std::vector<EvaluationMember>& members, const std::vector<Predictions>& answers) {
  if (answers.size() == 1) return scaled_logits(answers.front().logits);
  std::vector<at::Tensor> log_probs;
  std::vector<double> weights;
  const double largest = std::ranges::max(members, {}, &EvaluationMember::weight).weight;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    log_probs.push_back(log_probabilities(answers[i].logits));
    weights.push_back(members[i].weight / largest);  // whose sum is finite
  }
  return ensemble_log_probabilities(log_probs, weights);
}

TemperatureFit fit_on_file(const std::string& path, std::int64_t classes) {
  const Predictions held_out = load_predictions(path);
  if (held_out.logits.size(1) != classes) {
    throw WeightsError(path + ": has " + std::to_string(held_out.logits.size(1)) + " classes, the members have " +
                       std::to_string(classes));
  }
  return fit_temperature(held_out.logits, held_out.labels);
}

AppliedTemperature applied(const TemperatureFit& fit) {
  if (const auto warning = bound_warning(fit); !warning.empty()) spdlog::warn("{}", warning);
  return {fit.temperature, fit.nll};
}

}  // namespace ekd
