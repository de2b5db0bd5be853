#include "evaluate/evaluation_data.h"

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/strict_json.h"
#include "ekd/data/settings.h"
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

}  // namespace

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

}  // namespace ekd
