// The settings that a run directory was begun with, and whether others may go on with it.
#pragma once

#include <filesystem>

#include "ekd/settings/config.h"

namespace ekd {

// What RUN/config.json says. Throws UsageError where it is missing or damaged.
Config stored_settings(const std::filesystem::path& run, Command command);

// Throws UsageError naming what differs, unless `config` may go on with what `run` was begun with: epochs may
// grow; a setting that changes nothing but bits warns.
void check_settings_agree(const Config& config, const std::filesystem::path& run, Command command);

}  // namespace ekd
