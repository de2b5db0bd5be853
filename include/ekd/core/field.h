// What a setting is: its key, where its value lives, what it accepts, its flag, its meaning. Each room lists the fields
// of its own settings; reading, checking, printing, the command line's options and docs/config.md all come from the
// lists.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace ekd {

using FieldPointer = std::variant<bool*, std::int64_t*, double*, std::optional<double>*, std::string*,
                                  std::vector<std::int64_t>*, std::vector<double>*, std::vector<std::string>*>;

// What a value may be. Numbers: the range, for lists of every element. Strings: one of `names` where there are any, or
// empty where that is the default, or the text of a number in the range.
struct Accepted {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool above_min = false;  // min itself is not accepted
  std::vector<std::string> names;
  bool or_empty = false;
  bool or_number = false;
  bool (*also)(const std::string&) = nullptr;  // further names
  std::string also_text;                       // "wrn_DEPTH_WIDTH"
};

inline Accepted at_least(double min) { return {.min = min, .names = {}}; }
inline Accepted above(double min) { return {.min = min, .above_min = true, .names = {}}; }
inline Accepted between(double min, double max) { return {.min = min, .max = max, .names = {}}; }
inline Accepted above_up_to(double min, double max) { return {.min = min, .max = max, .above_min = true, .names = {}}; }
inline Accepted one_of(std::vector<std::string> names) { return {.names = std::move(names)}; }
inline Accepted or_empty(Accepted accepted) {
  accepted.or_empty = true;
  return accepted;
}

inline Accepted one_of_or_between(std::vector<std::string> names, double min, double max) {
  return {.min = min, .max = max, .names = std::move(names), .or_number = true};
}

constexpr double kMaxCount = 1e9;  // images, steps, epochs: far above use, far below overflow

// What a difference means when a run is resumed.
enum class OnResume {
  kMustMatch,    // an error: the run would no longer be the same
  kSameContent,  // where files lie: taken if what lies there is the same by its checksum
  kMayGrow,      // a larger value is taken
  kWarn,         // taken, but bits may differ
  kFree,         // taken
};

struct Field {
  std::string key;  // "optim.lr"
  FieldPointer value;
  Accepted accepted;
  std::string flag;  // "--lr"; "--no-…" turns the setting off; empty: by key only
  std::string help;
  OnResume on_resume = OnResume::kMustMatch;
};

// "a number > 0", "one of none, mixup, …": for messages and documentation.
std::string accepted_text(const Field& field);

}  // namespace ekd
