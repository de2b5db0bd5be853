// The settings that a run directory was begun with, and whether others may go on with it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "ekd/settings/config.h"

namespace ekd {

// What RUN/config.json says. Throws UsageError where it is missing or damaged.
Config stored_settings(const std::filesystem::path& run, Command command);

// What keeps `config` from going on with what `run` was begun with, as "optim.lr (0.05, was 0.1)": settings that must
// not change, and fewer epochs. None: it may.
std::vector<std::string> settings_in_the_way(const Config& config, const std::filesystem::path& run, Command command);

// Throws UsageError naming these. What only bits depend on warns.
void check_settings_agree(const Config& config, const std::filesystem::path& run, Command command);

}  // namespace ekd
