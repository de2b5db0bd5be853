// The one list of every setting: its key, where it lives, what it accepts, its flag, its meaning. Reading, checking,
// printing, the command line's options and docs/config.md all come from it.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ekd/core/config.h"

namespace ekd {

using FieldPointer = std::variant<bool*, std::int64_t*, double*, std::optional<double>*, std::string*,
                                  std::vector<std::int64_t>*, std::vector<std::string>*>;

// What a value may be. Numbers: the range, for lists of every element. Strings: one of `names` where there are any, or
// empty where that is the default.
struct Accepted {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool above_min = false;  // min itself is not accepted
  std::vector<std::string> names;
  bool or_empty = false;
};

inline Accepted at_least(double min) { return {.min = min, .names = {}}; }
inline Accepted above(double min) { return {.min = min, .above_min = true, .names = {}}; }
inline Accepted between(double min, double max) { return {.min = min, .max = max, .names = {}}; }
inline Accepted above_up_to(double min, double max) { return {.min = min, .max = max, .above_min = true, .names = {}}; }
inline Accepted one_of(std::vector<std::string> names) { return {.names = std::move(names)}; }
inline Accepted one_of_or_empty(std::vector<std::string> names) {
  return {.names = std::move(names), .or_empty = true};
}

constexpr double kMaxCount = 1e9;  // images, steps, epochs: far above use, far below overflow

// What a difference means when a run is resumed.
enum class OnResume {
  kMustMatch,  // an error: the run would no longer be the same
  kMayGrow,    // a larger value is taken
  kWarn,       // taken, but bits may differ
  kFree,       // taken
};

struct Field {
  std::string key;  // "optim.lr"
  FieldPointer value;
  Accepted accepted;
  std::string flag;  // "--lr"; "--no-…" turns the setting off; empty: by key only
  std::string help;
  OnResume on_resume = OnResume::kMustMatch;
};

// A number that a distillation loss reads from DistillConfig::loss_settings; its key is distill.NAME.
struct LossSetting {
  std::string name;
  double value = 0;  // the default
  Accepted accepted;
  std::string help;
};

// What the registries of higher layers add to the list.
struct Catalogue {
  std::map<std::string, std::vector<std::string>> names;  // accepted, by key: {"model.name": {"wrn_40_2", …}, …}
  std::vector<LossSetting> loss_settings;
};

// The part of them that says which images are used: evaluations read these too.
std::vector<Field> data_fields(DataConfig& data, const Catalogue& catalogue);

// The fields of `config` that `command` knows, in the order they are printed. Pointers lead into `config`; an
// assignment to it ends their life.
std::vector<Field> config_fields(Config& config, Command command, const Catalogue& catalogue);

// "a number > 0", "one of none, mixup, …": for messages and documentation.
std::string accepted_text(const Field& field);

}  // namespace ekd
