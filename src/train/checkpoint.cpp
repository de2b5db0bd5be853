#include "ekd/train/checkpoint.h"

#include "ekd/core/error.h"
#include "ekd/core/sha256.h"
#include "ekd/core/strict_json.h"
#include "ekd/core/tensor_file.h"
#include "ekd/core/text.h"

namespace ekd {
namespace {

constexpr const char* kModel = "model.";
constexpr const char* kObjective = "objective.";
constexpr const char* kOptimizer = "optim.";
constexpr const char* kAverage = "ema.";
constexpr const char* kBest = "best.";
constexpr const char* kSums = "progress.sums";
constexpr const char* kTeachers = "distill.teachers";

std::vector<NamedTensor> clones_of(const std::vector<NamedTensor>& tensors) {
  std::vector<NamedTensor> clones;
  for (const auto& [name, tensor] : tensors) clones.push_back({name, tensor.detach().clone()});
  return clones;
}

// Checkpoints from before settings were stored by name hold a digest of these, as far as the command has them. Keys
// that were added later are not among them.
constexpr const char* kDigestedKeys[] = {"data.dataset",
                                         "data.train_limit",
                                         "data.test_limit",
                                         "data.classes",
                                         "data.val_size",
                                         "model.name",
                                         "model.init",
                                         "augment.name",
                                         "augment.crop_padding",
                                         "augment.flip",
                                         "augment.rotation",
                                         "augment.mixup_alpha",
                                         "augment.cutmix_alpha",
                                         "augment.cutmix_mode",
                                         "augment.cutout_size",
                                         "augment.augmix_width",
                                         "augment.augmix_depth",
                                         "augment.augmix_severity",
                                         "augment.augmix_alpha",
                                         "augment.augmix_js_weight",
                                         "optim.batch_size",
                                         "optim.lr",
                                         "optim.schedule",
                                         "optim.milestones",
                                         "optim.gamma",
                                         "optim.momentum",
                                         "optim.weight_decay",
                                         "optim.nesterov",
                                         "optim.warmup_epochs",
                                         "optim.onecycle_rise",
                                         "optim.onecycle_start",
                                         "optim.onecycle_final",
                                         kTeachers,
                                         "distill.kd",
                                         "distill.temperature",
                                         "distill.kd_weight",
                                         "distill.ce_weight",
                                         "eval.every",
                                         "run.seed"};

std::string settings_digest(const nlohmann::json& settings) {
  Sha256 hash;
  for (const std::string key : kDigestedKeys)
    if (settings.contains(key)) hash.update(key + "=" + json_text(settings[key]) + "\n");
  return hash.hex();
}

// What a checkpoint says about settings; where it holds their digest and that agrees, they are today's.
nlohmann::json stored_by_name(const RunIdentity& now, const nlohmann::json& stored, const std::string& path) {
  if (stored.contains("settings")) return stored["settings"];
  if (stored.at("config_sha256") != settings_digest(now.settings))
    throw UsageError(path + ": was written under other settings than this run's config.json");
  nlohmann::json settings = nlohmann::json::object();
  for (const std::string key : kDigestedKeys)
    if (now.settings.contains(key)) settings[key] = now.settings[key];
  return settings;
}

void check_settings(const RunIdentity& now, const nlohmann::json& stored, const std::string& path) {
  const nlohmann::json before = stored_by_name(now, stored, path);
  std::vector<std::string> changed;
  for (const auto& [key, value] : now.settings.items()) {
    if (key == kTeachers) continue;
    const nlohmann::json& old = before.contains(key) ? before[key] : now.defaults.at(key);
    if (old != value) changed.push_back(key + " (" + json_text(value) + ", was " + json_text(old) + ")");
  }
  if (!changed.empty())
    throw UsageError(path + ": was written under other settings than this run's config.json: " + join(changed));
}

// Throws where the checkpoint is another run's.
void check_identity(const RunIdentity& now, const nlohmann::json& stored, const std::string& path) {
  check_settings(now, stored, path);
  if (stored.at("dataset_sha256") != now.dataset_sha256) {
    throw UsageError(path + ": the data is not what this run began with (its sha256 differs)");
  }
  const nlohmann::json normalisation = stored.value("normalisation", nlohmann::json());
  if (!normalisation.is_null() && normalisation != now.normalisation) {
    throw UsageError(path + ": the images are normalised by " + json_text(now.normalisation) + ", and were by " +
                     json_text(normalisation) + " when this run began");
  }
  if (stored.at("teacher_sha256").get<std::vector<std::string>>() != now.teacher_sha256) {
    throw UsageError(path + ": the teachers are not those this run began with (their sha256 differ)");
  }
  const std::vector<double> weights =
      stored.value("teacher_weights", std::vector<double>(now.teacher_sha256.size(), 1.0));
  if (weights != now.teacher_weights) {
    throw UsageError(path + ": the teachers' weights are " + json_text(nlohmann::json(now.teacher_weights)) +
                     ", and were " + json_text(nlohmann::json(weights)) + " when this run began");
  }
}

void check_position(Position at, Position end, const std::string& path) {
  const bool inside = at.epoch >= 0 && at.epoch < end.epoch && at.step >= 0 && at.step < end.step;
  const bool done = at.epoch == end.epoch && at.step == 0;
  if (inside || done) return;
  throw WeightsError(path + ": stands at epoch " + std::to_string(at.epoch + 1) + ", step " + std::to_string(at.step) +
                     ", outside this training of " + std::to_string(end.epoch) + " epochs of " +
                     std::to_string(end.step) + " steps");
}

// Every tensor belongs to one of the known groups.
void check_names(const TensorFile& file) {
  if (!file.foreign.empty())
    throw WeightsError(file.path + ": unexpected tensor '" + file.foreign.begin()->first + "'");
  for (const auto& tensor : file.tensors) {
    const bool known = tensor.name.starts_with(kModel) || tensor.name.starts_with(kObjective) ||
                       tensor.name.starts_with(kOptimizer) || tensor.name.starts_with(kAverage) ||
                       tensor.name.starts_with(kBest) || tensor.name == kSums;
    if (!known) throw WeightsError(file.path + ": unexpected tensor '" + tensor.name + "'");
  }
}

}  // namespace

void append_named(std::vector<NamedTensor>& all, const std::string& prefix, const std::vector<NamedTensor>& tensors) {
  for (const auto& [name, tensor] : tensors) all.push_back({prefix + name, tensor});
}

void save_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint) {
  std::vector<NamedTensor> tensors;
  append_named(tensors, kModel, checkpoint.model);
  append_named(tensors, kObjective, checkpoint.objective);
  append_named(tensors, kOptimizer, checkpoint.optimizer);
  append_named(tensors, kAverage, checkpoint.average);
  append_named(tensors, kBest, checkpoint.best.weights);
  tensors.push_back({kSums, checkpoint.sums});
  const nlohmann::json own = {{"kind", "checkpoint"},
                              {"epoch", checkpoint.position.epoch},
                              {"step", checkpoint.position.step},
                              {"settings", checkpoint.identity.settings},
                              {"dataset_sha256", checkpoint.identity.dataset_sha256},
                              {"normalisation", checkpoint.identity.normalisation},
                              {"teacher_sha256", checkpoint.identity.teacher_sha256},
                              {"teacher_weights", checkpoint.identity.teacher_weights},
                              {"compute", checkpoint.identity.compute},
                              {"best_epoch", checkpoint.best.epoch},
                              {"best_value", checkpoint.best.value},
                              {"sum_names", checkpoint.sum_names},
                              {"samples", checkpoint.samples},
                              {"epoch_seconds", checkpoint.epoch_seconds},
                              {"total_seconds", checkpoint.total_seconds}};
  write_tensor_file(path, tensors, own);
}

void load_checkpoint(const std::filesystem::path& path, Checkpoint& checkpoint, Position end) {
  const TensorFile file = read_tensor_file(path);
  if (!file.own.is_object() || file.own.value("kind", "") != "checkpoint") {
    throw WeightsError(path.string() + ": is not an ekd checkpoint");
  }
  try {
    check_identity(checkpoint.identity, file.own, path.string());
    checkpoint.began_on = file.own.at("compute").get<std::string>();
    checkpoint.position = {file.own.at("epoch"), file.own.at("step")};
    checkpoint.best.epoch = file.own.at("best_epoch");
    // Before there was a choice it was the accuracy, and named so.
    checkpoint.best.value = file.own.contains("best_value") ? file.own["best_value"] : file.own.at("best_accuracy");
    checkpoint.sum_names = file.own.at("sum_names").get<std::vector<std::string>>();
    checkpoint.samples = file.own.at("samples");
    checkpoint.epoch_seconds = file.own.at("epoch_seconds");
    checkpoint.total_seconds = file.own.at("total_seconds");
  } catch (const nlohmann::json::exception& error) {
    throw WeightsError(path.string() + ": its metadata is incomplete: " + error.what());
  }
  check_position(checkpoint.position, end, path.string());
  check_names(file);
  checkpoint.sums = file.at(kSums);
  if (checkpoint.sums.scalar_type() != at::kDouble || checkpoint.sums.dim() != 1 ||
      checkpoint.sums.size(0) != static_cast<std::int64_t>(checkpoint.sum_names.size())) {
    throw WeightsError(path.string() + ": its loss sums do not fit their names");
  }
  checkpoint.best.weights.clear();
  if (checkpoint.best.epoch >= 0) {
    checkpoint.best.weights = clones_of(checkpoint.model);
    copy_into(checkpoint.best.weights, file, kBest);
  }
  // All groups are checked, on copies, before one is written: copy_into checks no other than its own.
  const std::pair<const char*, const std::vector<NamedTensor>&> groups[] = {{kOptimizer, checkpoint.optimizer},
                                                                            {kAverage, checkpoint.average},
                                                                            {kObjective, checkpoint.objective},
                                                                            {kModel, checkpoint.model}};
  for (const auto& [prefix, live] : groups) copy_into(clones_of(live), file, prefix);
  for (const auto& [prefix, live] : groups) copy_into(live, file, prefix);
}

}  // namespace ekd
