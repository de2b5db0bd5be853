#include "ekd/engine/report_row.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <spdlog/spdlog.h>

#include <cmath>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/strict_json.h"
#include "ekd/engine/predictions_file.h"
#include "ekd/metrics/evaluate.h"
#include "ekd/metrics/statistics.h"
#include "ekd/metrics/temperature.h"

namespace ekd {
namespace {

const std::vector<int> kBins{15, 100};
constexpr double kPaperImages = 10'000;  // CIFAR-100's test set

// Where a column's number lies in the metrics: "ece15" in calibration, 15, ece.
std::optional<double> metric(const nlohmann::json& metrics, const std::string& column) {
  const nlohmann::json* object = &metrics;
  std::string key = column;
  const auto digits = column.find_first_of("0123456789");
  if (metrics.contains("calibration") && digits != std::string::npos && column != "top5") {
    const auto& calibration = metrics["calibration"];
    key = column.substr(0, digits);
    if (!calibration.contains(column.substr(digits))) return std::nullopt;
    object = &calibration[column.substr(digits)];
  }
  if (!object->contains(key) || !(*object)[key].is_number()) return std::nullopt;
  return (*object)[key].get<double>();
}

// The mean over seeds of what every seed knows.
ReportValue over_seeds(const std::vector<std::optional<double>>& values) {
  std::vector<double> numbers;
  for (const auto& value : values)
    if (value) numbers.push_back(*value);
  if (numbers.empty() || numbers.size() < values.size()) return {};
  const Summary summary = summarise(numbers);
  return {summary.mean, summary.std, std::nullopt, std::nullopt};
}

// Predictions of all seeds in the same images, or none.
std::vector<Predictions> predictions_of(const std::vector<FinishedRun>& runs, const std::string& file) {
  std::vector<Predictions> all;
  for (const auto& run : runs) {
    if (!std::filesystem::exists(run.folder / file)) return {};
    all.push_back(load_predictions(run.folder / file));
  }
  return all;
}

bool same_images(const std::vector<FinishedRun>& runs, const std::vector<Predictions>& all) {
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (at::equal(all[i].labels, all[0].labels)) continue;
    spdlog::warn("{} and {} were tested on different images: no intervals", runs[0].folder.string(),
                 runs[i].folder.string());
    return false;
  }
  return true;
}

// What each test image adds to the metrics that are means over images, by column.
using ImageScores = std::map<std::string, at::Tensor>;

ImageScores image_scores(const at::Tensor& log_probs, const at::Tensor& labels) {
  const at::Tensor truth = labels.unsqueeze(1), of_label = log_probs.gather(1, truth), probs = log_probs.exp();
  const at::Tensor lower_class = at::arange(log_probs.size(1)).unsqueeze(0) < truth;
  const at::Tensor rank = ((log_probs > of_label) | ((log_probs == of_label) & lower_class)).sum(1);
  const at::Tensor brier = (probs * probs).sum(1) - 2 * of_label.exp().squeeze(1) + 1;
  return {{"accuracy", (rank == 0).to(at::kDouble)},
          {"top5", (rank < 5).to(at::kDouble)},
          {"nll", -of_label.squeeze(1)},
          {"brier", brier},
          {"mean_confidence", probs.amax({1})}};
}

std::vector<double> numbers(const at::Tensor& values) {
  const at::Tensor row = values.contiguous();
  return {row.const_data_ptr<double>(), row.const_data_ptr<double>() + row.numel()};
}

// Standard deviations over test images: of our mean over seeds, and of one network.
struct Sampling {
  double ours = 0, single = 0;
};

class RowMaker {
 public:
  RowMaker(const std::string& name, const std::vector<FinishedRun>& runs) : runs_(runs) {
    row_.name = name;
    for (const auto& run : runs) row_.seeds.push_back(run.seed);
  }

  ReportRow make(const nlohmann::json& paper) {
    for (const auto& column : report_columns()) {
      std::vector<std::optional<double>> values;
      for (const auto& run : runs_) values.push_back(metric(run.metrics, column.name));
      row_.values[column.name] = over_seeds(values);
    }
    const auto predictions = predictions_of(runs_, "predictions.safetensors");
    if (!predictions.empty() && same_images(runs_, predictions) && agree(predictions)) {
      resample(predictions);
      scale(predictions);
    }
    if (paper.is_object()) compare(paper);
    return std::move(row_);
  }

 private:
  // Predictions left from other weights than the result's must not speak for it.
  bool agree(const std::vector<Predictions>& predictions) const {
    for (std::size_t i = 0; i < runs_.size(); ++i) {
      const double hits =
          (predictions[i].logits.argmax(1) == predictions[i].labels).to(at::kDouble).mean().item<double>();
      const auto accuracy = metric(runs_[i].metrics, "accuracy");
      if (accuracy && std::abs(hits - *accuracy) < 1e-3) continue;
      spdlog::warn("{}: predictions.safetensors is not of the result's weights (accuracy {:.4f}): no intervals",
                   runs_[i].folder.string(), hits);
      return false;
    }
    return true;
  }

  void resample(const std::vector<Predictions>& predictions) {
    std::vector<Top1> members;
    ImageScores sums;
    for (const auto& one : predictions) {
      const at::Tensor log_probs = log_probabilities(one.logits);
      members.push_back(top1(log_probs.exp(), one.labels));
      for (const auto& [column, scores] : image_scores(log_probs, one.labels)) {
        const at::Tensor share = scores / static_cast<double>(predictions.size());
        sums[column] = sums.contains(column) ? sums[column] + share : share;
      }
    }
    images_ = static_cast<double>(members[0].size());
    add_means(sums);
    for (const auto& [bins, spread] : bootstrap_calibration(members, kBins)) {
      set_interval("ece" + std::to_string(bins), spread.ece, spread.member_ece_std);
      set_interval("oe" + std::to_string(bins), spread.oe, spread.member_oe_std);
    }
    for (const auto& [bins, floor] : calibration_floor(members, kBins)) {
      const Summary summary = summarise(floor.members);
      row_.values["ece" + std::to_string(bins) + "_floor"] = {summary.mean, summary.std, floor.low, floor.high};
    }
  }

  void add_means(const ImageScores& sums) {
    std::vector<std::string> columns;
    std::vector<std::vector<double>> values;
    for (const auto& [column, scores] : sums) {
      if (!scores.isfinite().all().item<bool>()) continue;  // an NLL of infinity has no interval
      columns.push_back(column);
      values.push_back(numbers(scores));
    }
    const auto spreads = bootstrap_means(values);
    for (std::size_t i = 0; i < columns.size(); ++i) set_interval(columns[i], spreads[i], spreads[i].std);
  }

  void set_interval(const std::string& column, const Spread& spread, double single_std) {
    row_.values[column].low = spread.low;
    row_.values[column].high = spread.high;
    sampling_[column] = {spread.std, single_std};
  }

  void scale(const std::vector<Predictions>& test) {
    const auto held_out = predictions_of(runs_, "predictions-val.safetensors");
    std::map<std::string, std::vector<std::optional<double>>> values;
    for (std::size_t i = 0; i < held_out.size(); ++i) {
      const double temperature = fit_temperature(held_out[i].logits, held_out[i].labels).temperature;
      const nlohmann::json scaled =
          to_json(compute_metrics(log_probabilities(test[i].logits, temperature), test[i].labels, kBins));
      values["temperature"].emplace_back(temperature);
      for (const std::string column : {"nll", "ece15", "oe15", "ece100", "oe100"})
        values[column + "_scaled"].push_back(metric(scaled, column));
    }
    for (const auto& [column, of_seeds] : values) row_.values[column] = over_seeds(of_seeds);
  }

  void compare(const nlohmann::json& paper) {
    row_.has_paper = true;
    for (const std::string column : {"accuracy", "ece100", "oe100"}) {
      const auto published = metric(paper, column);
      const ReportValue& ours = row_.values[column];
      if (!published || !ours.mean) continue;
      row_.paper[column] = {*published, *ours.mean - *published, sigma(column, ours, *published)};
    }
  }

  // The formula of report.h.
  std::optional<double> sigma(const std::string& column, const ReportValue& ours, double published) const {
    const auto found = sampling_.find(column);
    Sampling sampling = found == sampling_.end() ? Sampling{} : found->second;
    if (column == "accuracy") {
      const auto images = metric(runs_[0].metrics, "n");
      if (found == sampling_.end() && !images) return std::nullopt;
      if (found == sampling_.end()) sampling.ours = std::sqrt(*ours.mean * (1 - *ours.mean) / *images);
      sampling.single = std::sqrt(published * (1 - published) / kPaperImages);
    } else {
      if (found == sampling_.end()) return std::nullopt;
      sampling.single *= std::sqrt(images_ / kPaperImages);
    }
    const double seeds = ours.std.value_or(0), n = static_cast<double>(runs_.size());
    return std::sqrt(sampling.ours * sampling.ours + sampling.single * sampling.single + seeds * seeds / n +
                     seeds * seeds);
  }

  const std::vector<FinishedRun>& runs_;
  ReportRow row_;
  double images_ = 0;
  std::map<std::string, Sampling> sampling_;
};

}  // namespace

FinishedRun read_finished_run(const std::filesystem::path& folder) {
  const auto path = folder / "result.json";
  try {
    const auto bytes = read_file(path);
    const auto result = parse_strict_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    if (!result.is_object() || !result.contains("last") || !result["last"].is_object())
      throw JsonError("there is no \"last\"");
    const bool seeded = result.contains("seed") && result["seed"].is_number_integer();
    return {folder, seeded ? result["seed"].get<std::int64_t>() : 0, result["last"]};
  } catch (const JsonError& error) {
    throw WeightsError(path.string() + ": is damaged: " + error.what());
  }
}

ReportRow make_row(const std::string& name, const std::vector<FinishedRun>& runs, const nlohmann::json& paper) {
  return RowMaker(name, runs).make(paper);
}

}  // namespace ekd
