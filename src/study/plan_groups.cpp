#include "study/plan_groups.h"

#include <algorithm>
#include <string>

#include "ekd/core/strict_json.h"
#include "ekd/settings/config.h"
#include "ekd/settings/config_io.h"
#include "ekd/train/training_run.h"

namespace ekd {
namespace {

// The js weight belongs to a learner's objective.
bool decides_batches(const std::string& key) {
  if (key == "augment.augmix_js_weight") return false;
  return key.starts_with("data.") || key.starts_with("augment.") || key.starts_with("run.") ||
         key == "optim.batch_size" || key == "optim.epochs";
}

std::string batch_settings(const PlanRow& row) {
  Config config = row.config;
  std::string text;
  for (const auto& field : config_fields(config, row.run->command))
    if (decides_batches(field.key)) text += field.key + "=" + json_text(field_json(field)) + "\n";
  return text;
}

bool share_a_teacher(const PlanRow& a, const PlanRow& b) {
  return std::ranges::find_first_of(a.config.distill.teachers, b.config.distill.teachers) !=
         a.config.distill.teachers.end();
}

bool distils(const PlanRow& row) { return row.run != nullptr && row.run->command == Command::kDistill; }

}  // namespace

bool same_batches(const PlanRow& a, const PlanRow& b) { return batch_settings(a) == batch_settings(b); }

std::vector<std::size_t> training_group(const std::vector<PlanRow>& rows, std::size_t first,
                                        const std::vector<std::size_t>& others, std::size_t limit) {
  std::vector<std::size_t> group{first};
  const auto joins = [&](std::size_t i) {
    return std::ranges::find(group, i) == group.end() && distils(rows[i]) && same_batches(rows[first], rows[i]) &&
           std::ranges::any_of(group, [&](std::size_t j) { return share_a_teacher(rows[i], rows[j]); });
  };
  while (distils(rows[first]) && group.size() < limit) {
    const auto next = std::ranges::find_if(others, joins);
    if (next == others.end()) break;
    group.push_back(*next);
  }
  std::ranges::sort(group);
  return group;
}

}  // namespace ekd
