// Every metric as a row: what it is called, how it is computed, what is known of its spread, how it prints.
// Evaluations, JSON, reports, orderings and tables go through these rows.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ekd/core/registry.h"
#include "ekd/metrics/calibration.h"
#include "ekd/metrics/metrics.h"

namespace ekd {

// What a network said about one image.
struct ImageAnswer {
  const double *log_probs, *probs;  // [classes]
  std::int64_t classes, label;
  std::int64_t rank;  // how many classes come before the label; of equal ones the lower class comes first
  double confidence;  // the largest probability
  double squares;     // Σ probs²
};

// What it said about a split.
struct Answers {
  at::Tensor probs;                            // double [N, classes] on the CPU
  at::Tensor labels;                           // int64 [N]
  Top1 samples;                                // as the images lie
  RankedSamples ascending;                     // by confidence
  std::map<int, ReliabilityBins> reliability;  // by their number, for the numbers of bins to report
};

// Sums over the images of one confidence bin.
struct BinTally {
  double count = 0, hits = 0, confidence = 0;
};

enum class Better { kLarger, kSmaller, kNeither };

struct MetricRow {
  std::string name;     // "ece"
  std::string help;     // for people: "ECE"; heads its columns
  bool binned = false;  // one number for each number of bins
  Better better = Better::kSmaller;
  double scale = 1;  // 100 where people read percents
  int digits = 4;
  bool in_brief = false;  // in the table that follows a training or an evaluation
  bool scaled = false;    // has a column after temperature scaling
  bool floored = false;   // has a column of what perfectly calibrated networks show

  // One of the two is set: the value is the mean of of_image over the images, whose numbers may be infinite, or
  // of_answers.
  double (*of_image)(const ImageAnswer&) = nullptr;
  double (*of_answers)(const Answers&, int bins) = nullptr;
  // For binned metrics that are a sum over bins: what a bin that holds images adds to N · the value. Resampling needs
  // it.
  double (*of_bin)(const BinTally&) = nullptr;

  bool has_interval() const { return of_image != nullptr || of_bin != nullptr; }
};

// Metrics of one number come before the binned ones.
const Registry<MetricRow>& metric_registry();

// A metric as a column: with its number of bins where it has one.
struct MetricColumn {
  const MetricRow* row;
  MetricKey key;
  std::string name() const { return column_name(key); }  // "ece15"
  // "ECE (15 bins)"; with " floor" between the two "ECE floor (15 bins)".
  std::string heading(const std::string& qualifier = "") const;
};

// First the metrics of one number, then for each number of bins the binned ones.
std::vector<MetricColumn> metric_columns(const std::vector<int>& bins);

// Null where kReportedBins give no column of that name.
const MetricColumn* find_metric_column(const std::string& name);

}  // namespace ekd
