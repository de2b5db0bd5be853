#include "ekd/core/config_fields.h"

#include <sstream>

#include "ekd/core/text.h"

namespace ekd {
namespace {

std::vector<Field> model_fields(ModelConfig& model, const Catalogue& catalogue) {
  return {
      {"model.name", &model.name, one_of(catalogue.names.at("model.name")), "--model", "the network to train"},
      {"model.init", &model.init, {}, "--init", "safetensors weights to start from"},
  };
}

std::vector<Field> augment_fields(AugmentConfig& augment, const Catalogue& catalogue) {
  return {
      {"augment.name", &augment.name, one_of(catalogue.names.at("augment.name")), "--aug", "the augmentation"},
      {"augment.crop_padding", &augment.crop_padding, between(0, 16), "",
       "zeros around the image before the random crop, pixels; 0: no crop"},
      {"augment.flip", &augment.flip, between(0, 1), "", "probability of a horizontal flip"},
      {"augment.rotation", &augment.rotation, between(0, 180), "", "rotation uniform in ±this, degrees"},
      {"augment.mixup_alpha", &augment.mixup_alpha, above_up_to(0, 1000), "", "mixup: λ ~ Beta(α, α), one per batch"},
      {"augment.cutmix_alpha", &augment.cutmix_alpha, above_up_to(0, 1000), "", "cutmix: λ ~ Beta(α, α)"},
      {"augment.cutmix_mode", &augment.cutmix_mode, one_of({"image", "batch"}), "",
       "cutmix: a box per image, or one per batch with partners from it"},
      {"augment.cutout_size", &augment.cutout_size, between(1, 1024), "", "cutout: side of the square, pixels"},
      {"augment.augmix_width", &augment.augmix_width, between(1, 8), "", "augmix: chains per mixture"},
      {"augment.augmix_depth", &augment.augmix_depth, between(1, 8), "", "augmix: most operations in a chain"},
      {"augment.augmix_severity", &augment.augmix_severity, between(0.1, 10), "",
       "augmix: strongest level of an operation"},
      {"augment.augmix_alpha", &augment.augmix_alpha, above_up_to(0, 1000), "",
       "augmix: Dirichlet(α) over chains, Beta(α, α) against the clean image"},
      {"augment.augmix_js_weight", &augment.augmix_js_weight, at_least(0), "",
       "augmix: weight of the Jensen-Shannon term"},
  };
}

std::vector<Field> optim_fields(OptimConfig& optim) {
  return {
      {"optim.epochs", &optim.epochs, between(1, kMaxCount), "--epochs", "passes over the training set",
       OnResume::kMayGrow},
      {"optim.batch_size", &optim.batch_size, between(1, kMaxCount), "--batch-size", "images per step"},
      {"optim.lr", &optim.lr, above(0), "--lr", "learning rate (the peak of a one-cycle schedule)"},
      {"optim.schedule", &optim.schedule, one_of({"step", "cosine", "onecycle", "constant"}), "--schedule",
       "how the rate changes"},
      {"optim.milestones", &optim.milestones, between(0, kMaxCount), "--milestones",
       "step: epochs from which the rate is multiplied by gamma"},
      {"optim.gamma", &optim.gamma, above_up_to(0, 1), "", "step: factor at each milestone"},
      {"optim.momentum",
       &optim.momentum,
       {.min = 0, .max = 0.9999, .names = {}},
       "--momentum",
       "of stochastic gradient descent"},
      {"optim.weight_decay", &optim.weight_decay, at_least(0), "--weight-decay", "on every parameter"},
      {"optim.nesterov", &optim.nesterov, {}, "--nesterov", "Nesterov's momentum"},
      {"optim.warmup_epochs", &optim.warmup_epochs, at_least(0), "--warmup-epochs",
       "the rate rises linearly from 0 over these"},
      {"optim.onecycle_rise", &optim.onecycle_rise, between(0, 1), "",
       "onecycle: share of the training in which the rate rises"},
      {"optim.onecycle_start", &optim.onecycle_start, between(0, 1), "", "onecycle: first rate as a share of lr"},
      {"optim.onecycle_final", &optim.onecycle_final, between(0, 1), "", "onecycle: last rate as a share of lr"},
  };
}

std::vector<Field> distill_fields(DistillConfig& distill, const Catalogue& catalogue) {
  std::vector<Field> fields{
      {"distill.teachers", &distill.teachers, {}, "--teacher", "[NAME=]RUN_OR_WEIGHTS; repeat for several teachers"},
      {"distill.loss", &distill.loss, one_of(catalogue.names.at("distill.loss")), "--loss",
       "what holds the student against its teachers"},
      {"distill.kd", &distill.kd, one_of(catalogue.names.at("distill.kd")), "--kd", "how several teachers combine"},
      {"distill.temperature", &distill.temperature, above(0), "--temperature", "of the softened probabilities"},
      {"distill.kd_weight", &distill.kd_weight, at_least(0), "--kd-weight", "weight of the distillation term"},
      {"distill.ce_weight", &distill.ce_weight, at_least(0), "--ce-weight", "weight of the cross-entropy"},
  };
  for (const auto& setting : catalogue.loss_settings) {
    double& value = distill.loss_settings.try_emplace(setting.name, setting.value).first->second;
    fields.push_back({"distill." + setting.name, &value, setting.accepted, "", setting.help});
  }
  return fields;
}

std::vector<Field> eval_fields(EvalConfig& eval) {
  return {
      {"eval.every", &eval.every, between(1, kMaxCount), "--eval-every",
       "epochs between evaluations; the last epoch always is evaluated"},
      {"eval.batch_size", &eval.batch_size, between(1, kMaxCount), "", "images per evaluation step", OnResume::kFree},
  };
}

std::vector<Field> run_fields(RunConfig& run) {
  return {
      {"run.seed", &run.seed, between(0, 4294967295.0), "--seed", "of every random draw"},
      {"run.device", &run.device, {}, "--device", "auto, cpu, cuda or cuda:N", OnResume::kWarn},
      {"run.precision", &run.precision, one_of({"auto", "fp32", "bf16"}), "--precision",
       "auto: bf16 where the hardware has it", OnResume::kWarn},
      {"run.threads", &run.threads, between(0, 1024), "--threads", "CPU threads; 0: one per core", OnResume::kWarn},
      {"run.fused",
       &run.fused,
       {},
       "",
       "own kernels for the networks' layers; false: LibTorch's operations, as a reference",
       OnResume::kWarn},
      {"run.graph",
       &run.graph,
       {},
       "--no-graph",
       "on CUDA, record a step once as a graph and replay it; changes no result",
       OnResume::kFree},
      {"run.deterministic",
       &run.deterministic,
       {},
       "--deterministic",
       "deterministic algorithms on CUDA too",
       OnResume::kWarn},
  };
}

std::string number_text(double value) {
  std::ostringstream text;
  text.precision(12);
  text << value;
  return text.str();
}

std::string range_text(const std::string& noun, const Accepted& accepted) {
  const bool bounded_below = accepted.min > -std::numeric_limits<double>::infinity();
  const bool bounded_above = accepted.max < std::numeric_limits<double>::infinity();
  const std::string low = number_text(accepted.min), high = number_text(accepted.max);
  if (bounded_below && bounded_above) return noun + " in " + (accepted.above_min ? "(" : "[") + low + ", " + high + "]";
  if (bounded_below) return noun + (accepted.above_min ? " > " : " >= ") + low;
  return noun;
}

}  // namespace

std::vector<Field> data_fields(DataConfig& data, const Catalogue& catalogue) {
  return {
      {"data.dataset", &data.dataset, one_of(catalogue.names.at("data.dataset")), "--dataset",
       "where the images come from"},
      {"data.dir", &data.dir, {}, "--data", "folder with CIFAR-100's train.bin and test.bin", OnResume::kFree},
      {"data.train_limit", &data.train_limit, between(0, kMaxCount), "--train-limit",
       "first N training records; 0: all"},
      {"data.test_limit", &data.test_limit, between(0, kMaxCount), "--test-limit", "first N test records; 0: all"},
      {"data.classes", &data.classes, between(0, kMaxCount), "--classes",
       "only the first N classes, and an N-way network; 0: all"},
      {"data.val_size", &data.val_size, between(0, kMaxCount), "--val-size",
       "last N training records held out for validation"},
  };
}

std::vector<Field> config_fields(Config& config, Command command, const Catalogue& catalogue) {
  std::vector<Field> all;
  const auto append = [&](std::vector<Field> fields) {
    all.insert(all.end(), std::make_move_iterator(fields.begin()), std::make_move_iterator(fields.end()));
  };
  append(data_fields(config.data, catalogue));
  append(model_fields(config.model, catalogue));
  append(augment_fields(config.augment, catalogue));
  append(optim_fields(config.optim));
  if (command == Command::kDistill) append(distill_fields(config.distill, catalogue));
  append(eval_fields(config.eval));
  append(run_fields(config.run));
  return all;
}

std::string accepted_text(const Field& field) {
  struct Visitor {
    const Accepted& accepted;
    std::string operator()(bool*) const { return "true or false"; }
    std::string operator()(std::int64_t*) const { return range_text("a whole number", accepted); }
    std::string operator()(double*) const { return range_text("a number", accepted); }
    std::string operator()(std::optional<double>*) const { return range_text("a number", accepted) + ", or null"; }
    std::string operator()(std::string*) const {
      return accepted.names.empty() ? "a text" : "one of " + join(accepted.names);
    }
    std::string operator()(std::vector<std::int64_t>*) const {
      return "a list of " + range_text("whole numbers", accepted);
    }
    std::string operator()(std::vector<std::string>*) const { return "a list of texts"; }
  };
  return std::visit(Visitor{field.accepted}, field.value);
}

}  // namespace ekd
