#include "ekd/engine/training_run.h"

#include <c10/util/Exception.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <optional>

#include "ekd/augment/registry.h"
#include "ekd/core/atomic_file.h"
#include "ekd/core/config_io.h"
#include "ekd/core/device.h"
#include "ekd/core/error.h"
#include "ekd/core/log.h"
#include "ekd/core/sha256.h"
#include "ekd/core/signals.h"
#include "ekd/core/strict_json.h"
#include "ekd/core/tensor_file.h"
#include "ekd/data/load.h"
#include "ekd/engine/batch_stream.h"
#include "ekd/engine/fit.h"
#include "ekd/engine/learner.h"
#include "ekd/engine/memory_guard.h"
#include "ekd/engine/model_file.h"
#include "ekd/engine/result.h"
#include "ekd/engine/stored_settings.h"
#include "ekd/losses/kd.h"
#include "ekd/models/registry.h"
#include "ekd/run/run_dir.h"
#include "ekd/run/run_record.h"

namespace ekd {
namespace {

// Everything a training needs besides its directory.
struct Prepared {
  at::Device device = at::kCPU;
  Precision precision = Precision::kFp32;
  Dataset data;  // on the device
  std::unique_ptr<Classifier> model;
  std::unique_ptr<BatchStream> stream;
  RunIdentity identity;
};

void to_device(ImageSet& set, at::Device device) {
  if (set.size() == 0) return;
  set.images = set.images.to(device);
  set.labels = set.labels.to(device);
}

void check_settings(const TrainingRequest& request) {
  if (request.command != Command::kDistill) return;
  const DistillConfig& distill = request.config.distill;
  if (distill.teachers.empty()) throw UsageError("distill needs at least one --teacher RUN_OR_WEIGHTS");
  if (distill.kd_weight == 0 && distill.ce_weight == 0)
    throw UsageError("--kd-weight and --ce-weight are both 0: nothing to train on");
}

// Over the settings that must not change in a run.
std::string config_digest(const TrainingRequest& request) {
  Config config = request.config;
  Sha256 hash;
  for (const auto& field : config_fields(config, request.command, catalogue()))
    if (field.on_resume == OnResume::kMustMatch) hash.update(field.key + "=" + field_json(field).dump() + "\n");
  return hash.hex();
}

std::unique_ptr<Classifier> prepare_model(const Config& config, const Dataset& data) {
  auto model = make_model({.name = config.model.name, .classes = data.classes, .channels = data.train.images.size(1)},
                          static_cast<std::uint64_t>(config.run.seed));
  if (!config.model.init.empty())
    copy_into(model_state(*model), read_tensor_file(resolve_model_source(config.model.init).file));
  return model;
}

Prepared prepare(const TrainingRequest& request) {
  const Config& config = request.config;
  check_settings(request);
  Prepared prepared;
  set_deterministic(config.run.deterministic);
  set_threads(config.run.threads);
  set_fused_kernels(config.run.fused);
  prepared.device = resolve_device(config.run.device);
  prepared.precision = resolve_precision(config.run.precision, prepared.device);
  prepared.data = load_dataset(config.data);
  auto teachers =
      load_teachers(request.command == Command::kDistill ? config.distill.teachers : std::vector<std::string>{},
                    prepared.data.classes, prepared.device);
  prepared.model = prepare_model(config, prepared.data);
  prepared.model->to(prepared.device);
  for (ImageSet* set : {&prepared.data.train, &prepared.data.val, &prepared.data.test})
    to_device(*set, prepared.device);

  prepared.identity = {.config_sha256 = config_digest(request),
                       .dataset_sha256 = prepared.data.sha256,
                       .teacher_sha256 = {},
                       .compute = compute_description(prepared.device) + ", " + precision_name(prepared.precision)};
  for (const auto& teacher : teachers) prepared.identity.teacher_sha256.push_back(teacher.sha256);
  const AugmentationContext context{.train = prepared.data.train,
                                    .classes = prepared.data.classes,
                                    .normalisation = prepared.data.normalisation,
                                    .config = config.augment,
                                    .seed = static_cast<std::uint32_t>(config.run.seed),
                                    .batch_size = config.optim.batch_size};
  prepared.stream = std::make_unique<BatchStream>(context, std::move(teachers), prepared.precision);
  return prepared;
}

Objective make_objective(const TrainingRequest& request, std::size_t teachers) {
  const double js_weight = request.config.augment.augmix_js_weight;
  if (request.command != Command::kDistill) return supervised_objective(js_weight);
  std::vector<std::size_t> all(teachers);
  for (std::size_t i = 0; i < teachers; ++i) all[i] = i;
  return distillation_objective(request.config.distill, js_weight, all);
}

LearnerSetup learner_setup(const TrainingRequest& request, Prepared& prepared) {
  const bool validated = prepared.data.val.size() > 0;
  return {.model = std::move(prepared.model),
          .objective = make_objective(request, prepared.stream->teachers().size()),
          .optim = request.config.optim,
          .eval_every = request.config.eval.every,
          .predict = {prepared.data.normalisation, request.config.eval.batch_size, prepared.precision},
          .watched = {validated ? "val" : "test", validated ? prepared.data.val : prepared.data.test},
          .identity = prepared.identity};
}

Provenance provenance(const TrainingRequest& request, const Prepared& prepared) {
  Provenance record{.command_line = request.command_line,
                    .command = command_name(request.command),
                    .compute = compute_description(prepared.device),
                    .precision = precision_name(prepared.precision),
                    .dataset_sha256 = prepared.data.sha256,
                    .teachers = nlohmann::json::array()};
  for (const auto& teacher : prepared.stream->teachers())
    record.teachers.push_back({{"name", teacher.name}, {"path", teacher.path}, {"sha256", teacher.sha256}});
  return record;
}

void write_config(const TrainingRequest& request, const std::filesystem::path& path) {
  Config config = request.config;
  write_file_atomically(path, config_json(config_fields(config, request.command, catalogue())).dump(2) + "\n");
}

nlohmann::ordered_json read_result(const std::filesystem::path& path) {
  const auto bytes = read_file(path);
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  auto result = nlohmann::ordered_json::parse(text, text + bytes.size(), nullptr, /*allow_exceptions=*/false);
  if (!result.is_object()) throw WeightsError(path.string() + ": is damaged: no JSON object");
  return result;
}

// The result of a run that need not go on.
std::optional<nlohmann::ordered_json> finished_result(const TrainingRequest& request) {
  if (!request.resume || run_state(request.run_dir) != RunState::kFinished) return std::nullopt;
  if (request.config.optim.epochs != stored_settings(request.run_dir, request.command).optim.epochs)
    return std::nullopt;
  spdlog::info("{}: this run is finished", request.run_dir.string());
  return read_result(request.run_dir / "result.json");
}

void refuse_existing(const TrainingRequest& request) {
  if (request.resume || run_state(request.run_dir) == RunState::kAbsent) return;
  throw UsageError(request.run_dir.string() +
                   ": already holds a run; add --resume to go on with it, or name another --run-dir");
}

// Trains in the locked directory.
TrainingOutcome train(const TrainingRequest& request, Prepared& prepared, const RunDir& dir) {
  std::filesystem::remove(dir.result());  // where a finished run is to go on for more epochs
  write_config(request, dir.config());
  RunRecord record(dir.record(), provenance(request, prepared));
  log_to_file(dir.log().string());
  try {
    BatchStream& stream = *prepared.stream;
    Learner learner(learner_setup(request, prepared), dir, stream.steps_per_epoch());
    const int stopped = fit(stream, {&learner}, request.progress);
    if (stopped != 0) {
      record.end("stopped", stopped == kDeadline ? "out of time" : "signal " + std::to_string(stopped));
      spdlog::info("{}: stopped at epoch {}, step {}; --resume goes on", learner.folder(), learner.position().epoch,
                   learner.position().step);
      return {stopped, {}};
    }
    const auto result = make_result(request.command, request.config, prepared.data, learner, dir);
    record.end("finished");
    write_file_atomically(dir.result(), result.dump(2) + "\n");
    return {0, result};
  } catch (const std::exception& error) {
    record.end("failed", error.what());
    throw;
  }
}

std::string doing(const TrainingRequest& request) {
  return "training " + request.config.model.name + " with batch size " +
         std::to_string(request.config.optim.batch_size);
}

}  // namespace

Catalogue catalogue() {
  return {{"model.name", model_registry().names()},
          {"augment.name", augmentation_registry().names()},
          {"distill.kd", kd_registry().names()}};
}

nlohmann::ordered_json plan_training(const TrainingRequest& request) {
  refuse_existing(request);
  const Prepared prepared = prepare(request);
  nlohmann::ordered_json teachers = nlohmann::ordered_json::array();
  for (const auto& teacher : prepared.stream->teachers()) teachers.push_back(teacher.name);
  return {{"command", command_name(request.command)},
          {"run_dir", request.run_dir.string()},
          {"compute", compute_description(prepared.device)},
          {"precision", precision_name(prepared.precision)},
          {"model", request.config.model.name},
          {"classes", prepared.data.classes},
          {"parameters", parameter_count(*prepared.model)},
          {"train_images", prepared.data.train.size()},
          {"val_images", prepared.data.val.size()},
          {"test_images", prepared.data.test.size()},
          {"teachers", teachers},
          {"epochs", request.config.optim.epochs},
          {"steps_per_epoch", prepared.stream->steps_per_epoch()}};
}

TrainingOutcome run_training(const TrainingRequest& request) {
  refuse_existing(request);
  if (const auto result = finished_result(request)) return {0, *result};
  at::Device device = at::kCPU;
  try {
    Prepared prepared = prepare(request);
    device = prepared.device;
    const RunDir dir(request.run_dir);
    refuse_existing(request);  // again: another process may have been here before the lock was ours
    if (const auto result = finished_result(request)) return {0, *result};
    TrainingOutcome outcome = train(request, prepared, dir);
    log_to_file("");
    return outcome;
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    const std::string advice = memory_advice(error, doing(request), device);
    if (!advice.empty()) throw MemoryError(advice);
    throw;
  }
}

}  // namespace ekd
