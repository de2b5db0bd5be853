// Losses that split the classes into groups and compare the groups' probabilities and what is inside them: DKD, GDKD,
// NKD and RLD.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <limits>

#include "losses/divergence.h"
#include "losses/logit_loss.h"

namespace ekd {
namespace {

// The one element of each row that the mask names, [..., 1].
at::Tensor element_of(const at::Tensor& rows, const at::Tensor& mask) {
  return at::where(mask, rows, 0).sum(-1, /*keepdim=*/true);
}

class DecoupledDistillation final : public LogitLoss {
 public:
  DecoupledDistillation(const DistillConfig& config, const LossContext& context, bool standardised = false)
      : LogitLoss(config, context,
                  {.standardised = standardised, .labels = true, .warm_up = config.loss_settings.at("dkd_warm_up")}),
        alpha_(config.loss_settings.at("dkd_alpha")),
        beta_(config.loss_settings.at("dkd_beta")) {}

 private:
  LossTerms parts(const LogitRows& rows) const override {
    const double t = rows.temperature;
    const at::Tensor others = rows.labels.logical_not();
    const at::Tensor tckd = rows.group_divergence(group_logits(rows.target, rows.labels),
                                                  group_logits(softened_logits(rows.student, t), rows.labels), t);
    const at::Tensor nckd = rows.divergence(softened_logits(rows.target, 1, others), t, others);
    return {{{"tckd", tckd, alpha_}, {"nckd", nckd, beta_}}};
  }

  double alpha_, beta_;
};

class GeneralizedDecoupledDistillation final : public LogitLoss {
 public:
  GeneralizedDecoupledDistillation(const DistillConfig& config, const LossContext& context)
      : LogitLoss(config, context, {.groups = true, .warm_up = config.loss_settings.at("gdkd_warm_up")}),
        k_(whole_setting(config, "gdkd_k")),
        groups_(config.loss_settings.at("gdkd_w0")),
        top_(config.loss_settings.at("gdkd_w1")),
        rest_(config.loss_settings.at("gdkd_w2")) {}

 private:
  LossTerms parts(const LogitRows& rows) const override {
    const double t = rows.temperature;
    const std::int64_t k = std::min(k_, rows.student.size(1) - 1);
    const at::Tensor largest = std::get<1>(rows.target.topk(k, -1));
    const at::Tensor top = at::zeros_like(rows.target, at::kBool).scatter_(-1, largest, true), rest = top.logical_not();
    const at::Tensor groups =
        rows.group_divergence(group_logits(rows.target, top), group_logits(softened_logits(rows.student, t), top), t);
    return {{{"groups", groups, groups_},
             {"top", rows.divergence(softened_logits(rows.target, 1, top), t, top), top_},
             {"rest", rows.divergence(softened_logits(rows.target, 1, rest), t, rest), rest_}}};
  }

  std::int64_t k_;
  double groups_, top_, rest_;
};

class NormalizedDistillation final : public LogitLoss {
 public:
  NormalizedDistillation(const DistillConfig& config, const LossContext& context)
      : LogitLoss(config, context, {.labels = true}), gamma_(config.loss_settings.at("nkd_gamma")) {}

 private:
  LossTerms parts(const LogitRows& rows) const override {
    const double t = rows.temperature, nothing = -std::numeric_limits<double>::infinity();
    const at::Tensor& label = rows.labels;
    const at::Tensor p = element_of(at::softmax(rows.target_logits(), -1), label).squeeze(-1);
    const at::Tensor log_q = element_of(at::log_softmax(rows.student, -1), label).squeeze(-1);
    const at::Tensor student = softened_logits(rows.student, t);
    const at::Tensor log_others = student - at::logsumexp(at::where(label, nothing, student), -1, /*keepdim=*/true);
    const at::Tensor others = at::softmax(at::where(label, nothing, rows.target), -1);
    return {{{"target", rows.mean(-p * log_q), 1},
             {"non_target", rows.mean(-t * t * (others * log_others).sum(-1)), gamma_}}};
  }

  double gamma_;
};

class RefinedDistillation final : public LogitLoss {
 public:
  RefinedDistillation(const DistillConfig& config, const LossContext& context)
      : LogitLoss(config, context, {.labels = true, .warm_up = config.loss_settings.at("rld_warm_up")}),
        alpha_(config.loss_settings.at("rld_alpha")),
        beta_(config.loss_settings.at("rld_beta")),
        confidence_temperature_(config.loss_settings.at("rld_t_alpha")) {}

 private:
  LossTerms parts(const LogitRows& rows) const override {
    const double sure = confidence_temperature_;
    const at::Tensor most_likely =
        at::arange(rows.student.size(1), rows.labels.options().dtype(at::kLong)) == rows.target.argmax(-1, true);
    const at::Tensor scd = rows.group_divergence(group_logits(rows.target_logits() / sure, most_likely),
                                                 group_logits(softened_logits(rows.student, sure), rows.labels), sure);
    const at::Tensor below = rows.target < element_of(rows.target, rows.labels);
    const at::Tensor mcd = rows.divergence(softened_logits(rows.target, 1, below), rows.temperature, below);
    return {{{"scd", scd, alpha_}, {"mcd", mcd, beta_}}};
  }

  double alpha_, beta_, confidence_temperature_;
};

std::vector<LossSetting> dkd_settings() {
  return {{"dkd_alpha", 1, at_least(0), "dkd: weight of the label's probability against all others'"},
          {"dkd_beta", 8, at_least(0), "dkd: weight of the others among themselves"},
          {"dkd_warm_up", 20, at_least(1), "dkd: epochs over which both rise linearly"}};
}

}  // namespace

// Zhao et al., "Decoupled knowledge distillation", CVPR 2022. α·tckd + β·nckd: T² · KL of (p_y, 1 − p_y), and T² · KL
// of the softmaxes over the other classes.
DistillationLossRow dkd_row() {
  return {.name = "dkd",
          .help = "the label's probability and the others' apart (Zhao et al., 2022); mixed images: the dominant label",
          .settings = dkd_settings(),
          .needs = {.epoch = true},
          .make = make_loss<DecoupledDistillation>,
          .defaults = {.temperature = 4, .kd_weight = 1, .ce_weight = 1},
          .combining = Combining::kSamples};
}

// Sun et al., CVPR 2024: DKD of standardised_logits, both its weights times 9.
DistillationLossRow lskd_dkd_row() {
  return {.name = "lskd-dkd",
          .help = "dkd of logits that are standardised in each sample (Sun et al., 2024)",
          .settings = dkd_settings(),
          .needs = {.epoch = true},
          .make = [](const DistillConfig& config, const LossContext& context) -> std::unique_ptr<DistillationLoss> {
            return std::make_unique<DecoupledDistillation>(config, context, /*standardised=*/true);
          },
          .defaults = {.temperature = 2, .kd_weight = 9, .ce_weight = 1},
          .combining = Combining::kSamples};
}

// Zheng and Cheng, "Rethinking decoupled knowledge distillation: a predictive distribution perspective", 2025: T² ·
// KL of the probabilities of the teacher's k likeliest classes and of the rest, inside the former, and inside the
// latter.
DistillationLossRow gdkd_row() {
  return {.name = "gdkd",
          .help = "the teacher's likeliest classes and the rest apart (Zheng and Cheng, 2025)",
          .settings = {{"gdkd_k", 5, between(1, kMaxCount), "gdkd: how many are the likeliest, at most all but one"},
                       {"gdkd_w0", 1, at_least(0), "gdkd: weight of the two groups' probabilities"},
                       {"gdkd_w1", 2, at_least(0), "gdkd: weight of the likeliest among themselves"},
                       {"gdkd_w2", 6, at_least(0), "gdkd: weight of the rest among themselves"},
                       {"gdkd_warm_up", 20, at_least(1), "gdkd: epochs over which all rise linearly"}},
          .needs = {.epoch = true},
          .make = make_loss<GeneralizedDecoupledDistillation>,
          .defaults = {.temperature = 4, .kd_weight = 1, .ce_weight = 1},
          .combining = Combining::kSamples};
}

// Yang et al., "From knowledge distillation to self-knowledge distillation: a unified approach with normalized loss and
// customized soft labels", ICCV 2023. target + γ·non_target: −p_1(t)_y · log p_1(s)_y, and T² · the cross-entropy of
// the softmaxes over the other classes. Neither is 0 for equal networks. T and γ are the authors' for CIFAR-100.
DistillationLossRow nkd_row() {
  return {.name = "nkd",
          .help = "the label's and the others' cross-entropies (Yang et al., 2023); mixed images: the dominant label",
          .settings = {{"nkd_gamma", 3.5, at_least(0), "nkd: weight of the other classes"}},
          .needs = {},
          .make = make_loss<NormalizedDistillation>,
          .defaults = {.temperature = 3, .kd_weight = 1, .ce_weight = 1},
          .combining = Combining::kSamples};
}

// Sun et al., "Knowledge distillation with refined logits", 2024. α·scd + β·mcd: T_α² · KL of (max p(t), rest) from
// (p(s)_y, rest), both at T_α; and T² · KL over the classes that the teacher ranks below the label, 0 where there is
// none.
DistillationLossRow rld_row() {
  return {.name = "rld",
          .help = "a teacher's mistakes left out (Sun et al., 2024); mixed images: the dominant label",
          .settings = {{"rld_alpha", 1, at_least(0), "rld: weight of the teacher's confidence"},
                       {"rld_beta", 8, at_least(0), "rld: weight of the classes below the label"},
                       {"rld_t_alpha", 1, above(0), "rld: temperature of the confidence"},
                       {"rld_warm_up", 20, at_least(1), "rld: epochs over which both rise linearly"}},
          .needs = {.epoch = true},
          .make = make_loss<RefinedDistillation>,
          .defaults = {.temperature = 4, .kd_weight = 1, .ce_weight = 1},
          .combining = Combining::kSamples};
}

}  // namespace ekd
