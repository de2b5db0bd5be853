#include "train/training_setup.h"

#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/tensor_file.h"
#include "ekd/data/load.h"
#include "ekd/data/record.h"
#include "ekd/evaluate/model_file.h"
#include "ekd/models/registry.h"
#include "ekd/runs/run_dir.h"
#include "ekd/settings/config.h"
#include "ekd/settings/config_io.h"

namespace ekd {
namespace {

void to_device(ImageSet& set, at::Device device) {
  if (set.size() == 0) return;
  set.images = set.images.to(device);
  set.labels = set.labels.to(device);
}

// By key, the settings that must not change in a run, and where its teachers lie.
nlohmann::json fixed_settings(Config config, Command command) {
  nlohmann::json settings = nlohmann::json::object();
  for (const auto& field : config_fields(config, command))
    if (field.on_resume == OnResume::kMustMatch || field.on_resume == OnResume::kSameContent)
      settings[field.key] = field_json(field);
  return settings;
}

std::unique_ptr<Classifier> prepare_model(const TrainingRequest& request, const Dataset& data) {
  const Config& config = request.config;
  auto model = make_model({.name = config.model.name, .classes = data.classes, .channels = data.train.images.size(1)},
                          static_cast<std::uint64_t>(config.run.seed));
  // A run that goes on has its checkpoint; the weights it started from may be gone.
  if (!config.model.init.empty() && !path_exists(RunFiles(request.run_dir).checkpoint()))
    copy_weights(read_tensor_file(resolve_model_source(config.model.init).file), *model);
  return model;
}

// What the loss may know of the networks it compares.
LossContext loss_context(const DistillationLossRow& row, const TrainingRequest& request, const RunSetup& run,
                         const SharedSetup& shared) {
  LossContext context{.classes = shared.data.classes,
                      .seed = static_cast<std::uint64_t>(request.config.run.seed),
                      .labels = shared.data.train.labels,
                      .teacher_weights = run.identity.teacher_weights};
  if (!row.needs.features) return context;
  const at::Tensor image = at::zeros_like(shared.data.train.images.narrow(0, 0, 1), at::kFloat);
  context.student = feature_shapes(*run.model, image);
  for (const auto& teacher : run.teachers) {
    context.teachers.push_back(feature_shapes(*teacher.model, image));
    context.teacher_names.push_back(teacher.name);
  }
  return context;
}

std::size_t index_of(const Teacher& teacher, const SharedSetup& shared) {
  const auto found = std::ranges::find(shared.teachers, teacher.path, &Teacher::path);
  return static_cast<std::size_t>(found - shared.teachers.begin());
}

Objective make_objective(const TrainingRequest& request, const RunSetup& run, const SharedSetup& shared) {
  const double js_weight = request.config.augment.augmix_js_weight;
  if (request.command != Command::kDistill) return Objective(js_weight);
  std::vector<std::size_t> indices;
  for (const auto& teacher : run.teachers) {
    indices.push_back(index_of(teacher, shared));
  }
  const DistillConfig& distill = request.config.distill;
  const DistillationLossRow& row = distillation_loss_registry().at(distill.loss);
  return Objective(js_weight, row, distill, loss_context(row, request, run, shared), indices);
}

}  // namespace

void check_distillation(const Config& config) {
  const DistillConfig& distill = config.distill;
  if (distill.teachers.empty()) throw UsageError("distill needs at least one --teacher RUN_OR_WEIGHTS");
  if (distill.kd_weight == 0 && distill.ce_weight == 0)
    throw UsageError("--kd-weight and --ce-weight are both 0: nothing to train on");
  if (distill.teacher_temperature == "fit" && config.data.val_size == 0)
    throw UsageError(
        "--teacher-temperature fit fits on the validation split, and there is none; --val-size N holds out the last N "
        "training records");
  std::vector<double> weights;
  for (const auto& text : distill.teachers) weights.push_back(parse_teacher(text).weight);
  check_combination(distillation_loss_registry().at(distill.loss), combination_registry().at(distill.kd), weights);
}

void check_request(const TrainingRequest& request) {
  if (!request.resume && run_state(request.run_dir) != RunState::kAbsent) {
    throw UsageError(request.run_dir.string() +
                     ": already holds a run; add --resume to go on with it, or name another --run-dir");
  }
  if (request.command == Command::kDistill) check_distillation(request.config);
}

SharedSetup prepare_shared(const Config& config) {
  SharedSetup shared;
  shared.graph = config.run.graph;
  set_deterministic(config.run.deterministic);
  set_threads(config.run.threads);
  set_fused_kernels(config.run.fused);
  shared.device = resolve_device(config.run.device);
  // A distillation asks its teachers as well, which mostly are such networks.
  const bool dense = !config.distill.teachers.empty() || is_mostly_dense(config.model.name);
  shared.precision = resolve_precision(config.run.precision, shared.device, dense);
  shared.data = load_dataset(config.data);
  for (ImageSet* set : {&shared.data.train, &shared.data.val, &shared.data.test}) to_device(*set, shared.device);
  return shared;
}

RunSetup prepare_run(const TrainingRequest& request, SharedSetup& shared) {
  RunSetup run;
  if (request.command == Command::kDistill)
    run.teachers = load_teachers(request.config.distill.teachers, shared.data, shared.device, shared.teachers);
  run.model = prepare_model(request, shared.data);
  run.model->to(shared.device);
  run.identity = {.settings = fixed_settings(request.config, request.command),
                  .defaults = fixed_settings(default_config(request.command), request.command),
                  .dataset_sha256 = shared.data.sha256,
                  .normalisation = normalisation_json(shared.data.normalisation, shared.data.train.images.size(1)),
                  .teacher_sha256 = {},
                  .teacher_weights = {},
                  .compute = compute_description(shared.device) + ", " + precision_name(shared.precision)};
  for (const auto& teacher : run.teachers) {
    run.identity.teacher_sha256.push_back(teacher.sha256);
    run.identity.teacher_weights.push_back(teacher.weight);
    if (std::ranges::find(shared.teachers, teacher.path, &Teacher::path) == shared.teachers.end())
      shared.teachers.push_back(teacher);
  }
  run.objective = make_objective(request, run, shared);
  return run;
}

void prepare_stream(const Config& config, SharedSetup& shared) {
  const AugmentationContext context{.train = shared.data.train,
                                    .classes = shared.data.classes,
                                    .normalisation = shared.data.normalisation,
                                    .config = config.augment,
                                    .seed = static_cast<std::uint32_t>(config.run.seed),
                                    .batch_size = config.optim.batch_size};
  shared.stream = std::make_unique<BatchStream>(context, shared.teachers, shared.precision, config.run.graph);
}

LearnerSetup learner_setup(const TrainingRequest& request, RunSetup& run, const SharedSetup& shared,
                           const std::string& label) {
  const bool validated = shared.data.val.size() > 0;
  if (!run.teacher_temperatures.empty()) run.objective->scale_teachers(run.teacher_temperatures);
  run.objective->smooth_labels(request.config.optim.label_smoothing);
  run.objective->to(shared.device);
  std::map<std::size_t, std::string> names;
  for (const auto& teacher : run.teachers) names[index_of(teacher, shared)] = teacher.name;
  return {.model = std::move(run.model),
          .objective = std::move(*run.objective),
          .optim = request.config.optim,
          .eval_every = request.config.eval.every,
          .best = request.config.eval.best,
          .graph = request.config.run.graph,
          .predict = {shared.data.normalisation, request.config.eval.batch_size, shared.precision,
                      request.config.run.graph},
          .watched = {validated ? "val" : "test", validated ? shared.data.val : shared.data.test},
          .identity = run.identity,
          .teachers = names,
          .label = label};
}

}  // namespace ekd
