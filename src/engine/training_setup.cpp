#include "ekd/engine/training_setup.h"

#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "ekd/core/config_io.h"
#include "ekd/core/error.h"
#include "ekd/core/tensor_file.h"
#include "ekd/data/load.h"
#include "ekd/engine/model_file.h"
#include "ekd/models/registry.h"
#include "ekd/run/run_dir.h"

namespace ekd {
namespace {

void to_device(ImageSet& set, at::Device device) {
  if (set.size() == 0) return;
  set.images = set.images.to(device);
  set.labels = set.labels.to(device);
}

// By key, the settings that must not change in a run.
nlohmann::json fixed_settings(Config config, Command command) {
  nlohmann::json settings = nlohmann::json::object();
  for (const auto& field : config_fields(config, command, catalogue()))
    if (field.on_resume == OnResume::kMustMatch) settings[field.key] = field_json(field);
  return settings;
}

std::unique_ptr<Classifier> prepare_model(const Config& config, const Dataset& data) {
  auto model = make_model({.name = config.model.name, .classes = data.classes, .channels = data.train.images.size(1)},
                          static_cast<std::uint64_t>(config.run.seed));
  if (!config.model.init.empty())
    copy_into(model_state(*model), read_tensor_file(resolve_model_source(config.model.init).file));
  return model;
}

// What the loss may know of the networks it compares.
LossContext loss_context(const DistillationLossRow& row, const TrainingRequest& request, const OwnSetup& own,
                         const CommonSetup& common) {
  LossContext context{.classes = common.data.classes, .seed = static_cast<std::uint64_t>(request.config.run.seed)};
  if (!row.needs.features) return context;
  const at::Tensor image = at::zeros_like(common.data.train.images.narrow(0, 0, 1), at::kFloat);
  context.student = feature_shapes(*own.model, image);
  for (const auto& teacher : own.teachers) context.teachers.push_back(feature_shapes(*teacher.model, image));
  return context;
}

Objective make_objective(const TrainingRequest& request, const OwnSetup& own, const CommonSetup& common) {
  const double js_weight = request.config.augment.augmix_js_weight;
  if (request.command != Command::kDistill) return Objective(js_weight);
  std::vector<std::size_t> indices;
  for (const auto& teacher : own.teachers) {
    const auto found = std::ranges::find(common.teachers, teacher.path, &Teacher::path);
    indices.push_back(static_cast<std::size_t>(found - common.teachers.begin()));
  }
  const DistillConfig& distill = request.config.distill;
  const DistillationLossRow& row = distillation_loss_registry().at(distill.loss);
  Objective objective(js_weight, row, distill, loss_context(row, request, own, common), indices);
  objective.to(common.device);
  return objective;
}

}  // namespace

void check_request(const TrainingRequest& request) {
  if (!request.resume && run_state(request.run_dir) != RunState::kAbsent) {
    throw UsageError(request.run_dir.string() +
                     ": already holds a run; add --resume to go on with it, or name another --run-dir");
  }
  if (request.command != Command::kDistill) return;
  const DistillConfig& distill = request.config.distill;
  if (distill.teachers.empty()) throw UsageError("distill needs at least one --teacher RUN_OR_WEIGHTS");
  if (distill.kd_weight == 0 && distill.ce_weight == 0)
    throw UsageError("--kd-weight and --ce-weight are both 0: nothing to train on");
}

CommonSetup prepare_common(const Config& config) {
  CommonSetup common;
  set_deterministic(config.run.deterministic);
  set_threads(config.run.threads);
  set_fused_kernels(config.run.fused);
  common.device = resolve_device(config.run.device);
  common.precision = resolve_precision(config.run.precision, common.device);
  common.data = load_dataset(config.data);
  for (ImageSet* set : {&common.data.train, &common.data.val, &common.data.test}) to_device(*set, common.device);
  return common;
}

OwnSetup prepare_own(const TrainingRequest& request, CommonSetup& common) {
  OwnSetup own;
  if (request.command == Command::kDistill)
    own.teachers = load_teachers(request.config.distill.teachers, common.data.classes, common.device, common.teachers);
  own.model = prepare_model(request.config, common.data);
  own.model->to(common.device);
  own.identity = {.settings = fixed_settings(request.config, request.command),
                  .defaults = fixed_settings(default_config(request.command), request.command),
                  .dataset_sha256 = common.data.sha256,
                  .teacher_sha256 = {},
                  .compute = compute_description(common.device) + ", " + precision_name(common.precision)};
  for (const auto& teacher : own.teachers) {
    own.identity.teacher_sha256.push_back(teacher.sha256);
    if (std::ranges::find(common.teachers, teacher.path, &Teacher::path) == common.teachers.end())
      common.teachers.push_back(teacher);
  }
  return own;
}

void prepare_stream(const Config& config, CommonSetup& common) {
  const AugmentationContext context{.train = common.data.train,
                                    .classes = common.data.classes,
                                    .normalisation = common.data.normalisation,
                                    .config = config.augment,
                                    .seed = static_cast<std::uint32_t>(config.run.seed),
                                    .batch_size = config.optim.batch_size};
  common.stream = std::make_unique<BatchStream>(context, common.teachers, common.precision, config.run.graph);
}

LearnerSetup learner_setup(const TrainingRequest& request, OwnSetup& own, const CommonSetup& common,
                           const std::string& label) {
  const bool validated = common.data.val.size() > 0;
  Objective objective = make_objective(request, own, common);
  return {.model = std::move(own.model),
          .objective = std::move(objective),
          .optim = request.config.optim,
          .eval_every = request.config.eval.every,
          .graph = request.config.run.graph,
          .predict = {common.data.normalisation, request.config.eval.batch_size, common.precision},
          .watched = {validated ? "val" : "test", validated ? common.data.val : common.data.test},
          .identity = own.identity,
          .label = label};
}

}  // namespace ekd
