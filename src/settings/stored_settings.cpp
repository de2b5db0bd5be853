#include "ekd/settings/stored_settings.h"

#include <spdlog/spdlog.h>

#include "ekd/core/error.h"
#include "ekd/core/text.h"
#include "ekd/runs/run_dir.h"
#include "ekd/settings/config.h"
#include "ekd/settings/config_io.h"

namespace ekd {

Config stored_settings(const std::filesystem::path& run, Command command) {
  Config stored = default_config(command);
  apply_file(config_fields(stored, command), RunFiles(run).config().string());
  return stored;
}

std::vector<std::string> settings_in_the_way(const Config& config, const std::filesystem::path& run, Command command) {
  Config ours = config, stored = stored_settings(run, command);
  const auto now = config_fields(ours, command), before = config_fields(stored, command);
  auto changed = differences(now, before, OnResume::kMustMatch);
  if (config.optim.epochs < stored.optim.epochs)
    for (const auto& text : differences(now, before, OnResume::kMayGrow)) changed.push_back(text);
  return changed;
}

void check_settings_agree(const Config& config, const std::filesystem::path& run, Command command) {
  const auto in_the_way = settings_in_the_way(config, run, command);
  if (!in_the_way.empty()) {
    throw UsageError(
        "--resume: " + run.string() + " was begun with other settings: " + join(in_the_way) +
        (config.optim.epochs < stored_settings(run, command).optim.epochs ? "; epochs may grow, not shrink" : ""));
  }
  Config ours = config, stored = stored_settings(run, command);
  const auto now = config_fields(ours, command), before = config_fields(stored, command);
  for (const auto& text : differences(now, before, OnResume::kWarn))
    spdlog::warn("{}: the same bits are not promised with another {}", run.string(), text);
}

}  // namespace ekd
