// The table of a report: rows of measured numbers beside published ones, as JSON, CSV or for people.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "ekd/runs/table_format.h"

namespace ekd {

// A number over seeds; fractions, never percents.
struct ReportValue {
  std::optional<double> mean;
  std::optional<double> std;        // over seeds, n − 1; none for one seed
  std::optional<double> low, high;  // 95 % interval over test images, where predictions were saved
};

// Beside a published number.
struct PublishedValue {
  double published = 0;
  double difference = 0;        // ours − published
  std::optional<double> sigma;  // standard deviation of that difference; none where it is not known
  double degrees = std::numeric_limits<double>::infinity();  // of freedom, with which σ is known
  // |difference| ≤ 2σ; where few seeds tell σ, Student's quantile in the place of 2.
  std::optional<bool> within() const;
};

struct ReportRow {
  std::string name;
  std::vector<std::int64_t> seeds;
  std::map<std::string, ReportValue> values;  // by column
  bool has_paper = false;
  std::map<std::string, PublishedValue> paper;  // by column: of published_columns() those that were published

  void drop_paper();
};

struct ReportColumn {
  std::string name;     // "ece15"
  std::string heading;  // "ECE (15 bins)"
  double scale = 1;     // 100 where people read percents
  int digits = 4;
};

// Every column, in the order of the JSON.
const std::vector<ReportColumn>& report_columns();

// The columns that published numbers may stand beside: of a test set of 100 bins.
const std::vector<std::string>& published_columns();

// A column, or its 95 % interval: "ece15_interval".
struct ColumnChoice {
  const ReportColumn* column;
  bool interval = false;
};

// "accuracy,ece15,ece15_interval"; empty: all of report_columns() with `all`, else those of the usual table. Throws
// UsageError that names the accepted ones and the nearest.
std::vector<ColumnChoice> choose_columns(const std::string& text, bool all);

// {"rows": [{"name", "n", "seeds", COLUMN: {"mean", "std", "low", "high"}, …, "paper", "difference", "sigma",
// "within"}]}; the last four are null for rows without published numbers; numbers that are not known or not finite are
// null.
nlohmann::ordered_json report_json(const std::vector<ReportRow>& rows, const std::vector<ColumnChoice>& columns);

// For people mean ± std, with the published number, the difference and whether it lies within 2σ beside it; CSV holds
// everything the JSON does, in full precision.
std::string report_table(const std::vector<ReportRow>& rows, const std::vector<ColumnChoice>& columns,
                         TableFormat format);

}  // namespace ekd
