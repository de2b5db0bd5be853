// Decoupled Kullback-Leibler divergence: IKL and GKL.
#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/softmax.h>

#include "losses/divergence.h"
#include "losses/logit_loss.h"

namespace ekd {
namespace {

struct IklNumbers {
  double alpha, beta, weight_temperature, gamma, warm_up;
  bool of_all_weights;  // the squares' sum over the weights' sum, not over B
};

class DecoupledKl final : public LogitLoss {
 public:
  DecoupledKl(const DistillConfig& config, const LossContext& context, const IklNumbers& numbers)
      : LogitLoss(config, context, {.warm_up = numbers.warm_up}), numbers_(numbers) {}

 private:
  LossTerms parts(const LogitRows& rows) const override {
    const at::Tensor logits = rows.target_logits(), difference = logits - rows.student;
    const at::Tensor weight = at::softmax(logits / numbers_.weight_temperature, -1).pow(numbers_.gamma);
    // ¼ Σ_jk w_j w_k (d_j − d_k)² = ½ W · Σ_j w_j (d_j − d̄)², W = Σ w and d̄ the weighted mean.
    const at::Tensor sum = weight.sum(-1, /*keepdim=*/true);
    const at::Tensor centred = difference - (weight * difference).sum(-1, /*keepdim=*/true) / sum;
    at::Tensor square = sum.squeeze(-1) * (weight * centred.square()).sum(-1) / 2;
    if (numbers_.of_all_weights) square = square / sum.squeeze(-1).square().mean(-1, /*keepdim=*/true);
    const at::Tensor log_q = at::log_softmax(softened_logits(rows.student, rows.temperature), -1);
    const at::Tensor soft_ce = -(at::softmax(rows.target, -1) * log_q).sum(-1);
    return {{{"wmse", rows.mean(square), numbers_.beta}, {"soft_ce", rows.mean(soft_ce), numbers_.alpha}}};
  }

  IklNumbers numbers_;
};

}  // namespace

// Cui et al., "Decoupled Kullback-Leibler divergence loss", NeurIPS 2024. β·wmse + α·soft_ce: ¼ Σ_jk w_j w_k (d_j −
// d_k)² of the logits' differences d with w the teacher's probabilities at T2, and the cross-entropy of both networks'
// probabilities at T, without T². The latter is not 0 for equal networks.
DistillationLossRow ikl_row() {
  return {.name = "ikl",
          .help = "weighted squares of logits' differences, and soft labels (Cui et al., 2024)",
          .settings = {{"ikl_alpha", 1, at_least(0), "ikl: weight of the soft labels' cross-entropy"},
                       {"ikl_beta", 4, at_least(0), "ikl: weight of the squares"},
                       {"ikl_t2", 100, above(0), "ikl: temperature of the squares' weights"},
                       {"ikl_warm_up", 20, at_least(1), "ikl: epochs over which both rise linearly"}},
          .needs = {.epoch = true},
          .make = [](const DistillConfig& config, const LossContext& context) -> std::unique_ptr<DistillationLoss> {
            const auto& own = config.loss_settings;
            return std::make_unique<DecoupledKl>(
                config, context,
                IklNumbers{own.at("ikl_alpha"), own.at("ikl_beta"), own.at("ikl_t2"), 1, own.at("ikl_warm_up"), false});
          },
          .defaults = {.temperature = 4, .kd_weight = 1, .ce_weight = 1},
          .combining = Combining::kSamples};
}

// Cui et al., "Generalized Kullback-Leibler divergence loss", 2025: the weights to the power γ, and their squares' sum
// divided by the sum of all weights w_j·w_k of the batch.
DistillationLossRow gkl_row() {
  return {.name = "gkl",
          .help = "ikl with flatter weights, divided by their sum (Cui et al., 2025)",
          .settings = {{"gkl_alpha", 1, at_least(0), "gkl: weight of the soft labels' cross-entropy"},
                       {"gkl_beta", 8, at_least(0), "gkl: weight of the squares"},
                       {"gkl_gamma", 0, at_least(0), "gkl: power of the squares' weights; 0: all are the same"},
                       {"gkl_t2", 4, above(0), "gkl: temperature of the squares' weights"},
                       {"gkl_warm_up", 20, at_least(1), "gkl: epochs over which both rise linearly"}},
          .needs = {.epoch = true},
          .make = [](const DistillConfig& config, const LossContext& context) -> std::unique_ptr<DistillationLoss> {
            const auto& own = config.loss_settings;
            return std::make_unique<DecoupledKl>(config, context,
                                                 IklNumbers{own.at("gkl_alpha"), own.at("gkl_beta"), own.at("gkl_t2"),
                                                            own.at("gkl_gamma"), own.at("gkl_warm_up"), true});
          },
          .defaults = {.temperature = 4, .kd_weight = 1, .ce_weight = 1},
          .combining = Combining::kSamples};
}

}  // namespace ekd
