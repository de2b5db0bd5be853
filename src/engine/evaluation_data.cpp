#include "ekd/engine/evaluation_data.h"

#include <filesystem>

#include "ekd/core/atomic_file.h"
#include "ekd/core/config_io.h"
#include "ekd/core/error.h"
#include "ekd/core/strict_json.h"
#include "ekd/engine/training_run.h"

namespace ekd {
namespace {

// The data section of a run's config.json.
DataConfig data_of_run(const std::string& run) {
  const std::string path = run + "/config.json";
  nlohmann::json config;
  try {
    const auto bytes = read_file(path);
    config = parse_strict_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  } catch (const JsonError& error) {
    throw WeightsError(path + ": is damaged: " + error.what());
  } catch (const IoError& error) {
    throw WeightsError(error.what());
  }
  Config stored;
  const auto fields = config_fields(stored, Command::kTrainTeacher, catalogue());
  if (config.contains("data")) apply_json(fields, {{"data", config["data"]}}, path);
  return stored.data;
}

template <class Value>
void settle(const char* flag, const std::optional<Value>& given, Value DataConfig::*member, DataConfig& result,
            const std::vector<DataConfig>& of_runs, const std::vector<std::string>& runs) {
  if (given) {
    result.*member = *given;
    return;
  }
  if (of_runs.empty()) return;
  result.*member = of_runs.front().*member;
  for (std::size_t i = 1; i < of_runs.size(); ++i) {
    if (of_runs[i].*member != result.*member) {
      throw UsageError(runs[0] + " and " + runs[i] +
                       " were trained with different data settings; say which to use with " + flag);
    }
  }
}

}  // namespace

DataConfig evaluation_data(const DataOverrides& given, const std::vector<std::string>& runs) {
  std::vector<DataConfig> of_runs;
  for (const auto& run : runs) of_runs.push_back(data_of_run(run));
  DataConfig result;
  settle("--dataset", given.dataset, &DataConfig::dataset, result, of_runs, runs);
  settle("--data", given.dir, &DataConfig::dir, result, of_runs, runs);
  settle("--train-limit", given.train_limit, &DataConfig::train_limit, result, of_runs, runs);
  settle("--test-limit", given.test_limit, &DataConfig::test_limit, result, of_runs, runs);
  settle("--classes", given.classes, &DataConfig::classes, result, of_runs, runs);
  settle("--val-size", given.val_size, &DataConfig::val_size, result, of_runs, runs);
  return result;
}

}  // namespace ekd
