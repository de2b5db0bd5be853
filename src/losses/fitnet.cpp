// FitNet's hint. Romero et al., "FitNets: hints for thin deep nets", ICLR 2015, eq. (3), trained together with the
// network as the field does it, by a regressor of one convolution, batch normalisation and ReLU.
#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv_transpose2d.h>
#include <ATen/ops/mse_loss.h>

#include <array>
#include <cmath>

#include "losses/feature_loss.h"

namespace ekd {
namespace {

// The convolution that leads from a map's side to another's.
struct Resampling {
  std::int64_t kernel = 0, stride = 1, padding = 0;
  bool transposed = false;
};

// kernel 0: there is none.
Resampling resampling(std::int64_t from, std::int64_t to) {
  if (to == 2 * from) return {.kernel = 4, .stride = 2, .padding = 1, .transposed = true};
  if (from == 2 * to) return {.kernel = 3, .stride = 2, .padding = 1};
  if (from >= to) return {.kernel = 1 + from - to};
  return {};
}

class Hint final : public FeatureLoss {
 public:
  Hint(const DistillConfig& config, const LossContext& context)
      : FeatureLoss("fitnet", config, context, {.map = stage(config)}),
        weight_(config.loss_settings.at("fitnet_weight")),
        relu_(whole_setting(config, "fitnet_relu") != 0) {
    for (std::size_t i = 0; i < teachers(); ++i) regressors_.push_back(regressor(i));
  }

 private:
  struct Regressor {
    Resampling shape;
    at::Tensor weight, bias;
    BatchStandardisation norm;
  };

  static std::int64_t stage(const DistillConfig& config) { return whole_setting(config, "fitnet_hint"); }

  Regressor regressor(std::size_t teacher) {
    const FeatureShape &ours = student_shapes().at(0), &theirs = teacher_shapes(teacher).at(0);
    const std::int64_t in = ours.sizes[0], out = theirs.sizes[0];
    const Resampling shape = resampling(ours.sizes[1], theirs.sizes[1]);
    const Resampling across = resampling(ours.sizes[2], theirs.sizes[2]);
    if (shape.kernel == 0 || shape.kernel != across.kernel || shape.transposed != across.transposed)
      throw refusal(teacher, ": no convolution leads to its '" + theirs.name + "' from the student's '" + ours.name +
                                 "', which is neither as large nor larger nor half as large");
    // As PyTorch starts them; it takes a transposed convolution's second dimension for what comes in.
    const std::array<std::int64_t, 4> sizes{shape.transposed ? in : out, shape.transposed ? out : in, shape.kernel,
                                            shape.kernel};
    const double bound = 1 / std::sqrt(static_cast<double>(sizes[1] * shape.kernel * shape.kernel));
    return {shape, uniform_parameter(teacher, "conv.weight", sizes, bound),
            uniform_parameter(teacher, "conv.bias", out, bound), standardisation(teacher, "bn", out)};
  }

  LossTerms against(std::size_t teacher, const std::vector<at::Tensor>& student, const std::vector<at::Tensor>& theirs,
                    const DistillationInput&) const override {
    const auto& [shape, weight, bias, norm] = regressors_[teacher];
    at::Tensor ours =
        norm(shape.transposed ? at::conv_transpose2d(student[0], weight, bias, shape.stride, shape.padding)
                              : at::conv2d(student[0], weight, bias, shape.stride, shape.padding));
    if (relu_) ours = ours.relu();
    return {{{"mse", at::mse_loss(ours, theirs[0]), weight_}}};
  }

  double weight_;
  bool relu_;
  std::vector<Regressor> regressors_;
};

}  // namespace

// One term "mse": the mean square, over images, channels and positions, between the teacher's map and the student's
// through a regressor: a convolution to the teacher's shape (transposed 4×4 with stride 2 to twice the side, 3×3 with
// stride 2 to half of it, else without padding), batch normalisation by batch statistics, ReLU. The authors' regressors
// end in ReLU although a teacher's map may have negative values.
DistillationLossRow fitnet_row() {
  return {.name = "fitnet",
          .help = "a stage's activations, through a regressor (Romero et al., 2015)",
          .settings = {{"fitnet_weight", 100, at_least(0), "fitnet: of the term"},
                       {"fitnet_hint", 2, between(1, 1000), "fitnet: the number of the stage, from 1"},
                       {"fitnet_relu", 1, between(0, 1), "fitnet: whether the regressor ends in ReLU (1) or not (0)"}},
          .needs = {.features = true},
          .make = make_loss<Hint>,
          .defaults = {.kd_weight = 1, .ce_weight = 1}};
}

}  // namespace ekd
