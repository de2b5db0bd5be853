#include "losses/crd.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/take.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "ekd/core/random.h"

namespace ekd {
namespace {

constexpr std::int64_t kLowWord = 0xFFFFFFFF;

// 32 bits that depend on all bits of x, int64 in [0, 2^32), one to one: two rounds of xor-shift and multiplication with
// the constants that Wellons found by search ("lowbias32", 2018). Products may wrap; the lower bits are right.
at::Tensor mixed_bits(at::Tensor x) {
  const auto folded = [](const at::Tensor& bits, std::int64_t by) { return bits ^ bits.bitwise_right_shift(by); };
  x = folded(x, 16).mul(0x7FEB352D) & kLowWord;
  x = folded(x, 15).mul(0x846CA68B) & kLowWord;
  return folded(x, 16);
}

// [count] draws of 32 bits as a function of key, step (0-dim) and position, computed on the step's device: a recorded
// step draws anew in each replay.
at::Tensor counted_draws(std::uint64_t key, const at::Tensor& step, std::int64_t count) {
  const at::Tensor start =
      mixed_bits((step + static_cast<std::int64_t>(key & kLowWord)) & kLowWord) ^ static_cast<std::int64_t>(key >> 32);
  return mixed_bits(mixed_bits(at::arange(count, step.options())) ^ start);
}

// Scores [B, N] of unit rows against a bank, as e^(cosine / temperature) at `rows`.
at::Tensor scores_at(const at::Tensor& rows, const at::Tensor& embedded, const at::Tensor& bank, double temperature) {
  return (at::matmul(embedded, bank.t()).gather(1, rows) / temperature).exp();
}

// −Σ log of the probabilities that the noise contrastive estimate gives to what is true, over the batch.
at::Tensor noise_contrastive(const at::Tensor& scores, const at::Tensor& counted, double noise) {
  constexpr double kEps = 1e-7;
  const at::Tensor all = scores + (noise + kEps), positive = scores.narrow(1, 0, 1) / all.narrow(1, 0, 1);
  const std::int64_t candidates = scores.size(1) - 1;
  const at::Tensor negatives = (noise / all.narrow(1, 1, candidates)).log() * counted.narrow(1, 1, candidates);
  return (positive.log().sum() + negatives.sum()) / -static_cast<double>(scores.size(0));
}

void move_towards(const at::Tensor& bank, const at::Tensor& rows, const at::Tensor& embedded, double momentum) {
  at::Tensor(bank).index_copy_(
      0, rows, unit_length(momentum * bank.index_select(0, rows) + (1 - momentum) * embedded.detach(), 1));
}

}  // namespace

ContrastiveDistillation::ContrastiveDistillation(const DistillConfig& config, const LossContext& context)
    : FeatureLoss("crd", config, context, {.pooled = true}),
      weight_(config.loss_settings.at("crd_weight")),
      temperature_(config.loss_settings.at("crd_temperature")),
      momentum_(config.loss_settings.at("crd_momentum")),
      seed_(context.seed),
      labels_(context.labels) {
  const std::int64_t images = labels_.size(0);
  largest_class_ = at::bincount(labels_.cpu()).max().item<std::int64_t>();
  // One more is out: where images are mixed, the image itself need not be of its dominant class.
  negatives_ = std::min(whole_setting(config, "crd_negatives"), images - largest_class_ - 1);
  if (negatives_ < 1) throw UsageError("--loss crd holds images against those of other classes, and there are none");
  const std::int64_t width = whole_setting(config, "crd_width");
  const double bound = std::sqrt(3 / static_cast<double>(width));
  for (std::size_t i = 0; i < teachers(); ++i) {
    Banks banks{.student_embedding = embedding(i, "embed_s", student_shapes().at(0).sizes.at(0), width),
                .teacher_embedding = embedding(i, "embed_t", teacher_shapes(i).at(0).sizes.at(0), width),
                .student = uniform_buffer(i, "memory_v1", {images, width}, bound),
                .teacher = uniform_buffer(i, "memory_v2", {images, width}, bound),
                .normalisers = add_buffer(own_name(i, "normalisers"), at::zeros(2)),
                .steps = add_buffer(own_name(i, "steps"), at::zeros({}, at::kLong))};
    banks_.push_back(std::move(banks));
  }
}

// The images in an order that is drawn for the step; an image's negatives are the first of other classes from a place
// on that is drawn for it. So all the step draws is a number for each training image, and one for each of the batch.
ContrastiveDistillation::Contrast ContrastiveDistillation::contrast(std::size_t teacher,
                                                                    const DistillationInput& input) const {
  const CountedRandom random(static_cast<std::uint32_t>(seed_), RandomStream::kContrast);
  const auto place = static_cast<std::uint32_t>(teacher);
  const at::Tensor& steps = banks_[teacher].steps;
  const std::int64_t images = labels_.size(0), batch = input.indices.size(0);
  const at::Tensor order =
      at::argsort(counted_draws(random.bits(0, place, 0), steps, images), /*stable=*/true, 0, /*descending=*/false);
  const at::Tensor start = counted_draws(random.bits(0, place, 1), steps, batch).mul(images).bitwise_right_shift(32);
  const at::Tensor offsets = at::arange(negatives_ + largest_class_ + 1, order.options());
  const at::Tensor candidates = at::take(order, (start.unsqueeze(1) + offsets).remainder(images));
  const at::Tensor own = input.indices.unsqueeze(1), own_class = dominant_classes(input.targets, input.labels);
  const at::Tensor other = (at::take(labels_, candidates) != own_class) & (candidates != own);
  const at::Tensor counted = other & (other.cumsum(1) <= negatives_);
  return {at::cat({own, candidates}, 1), at::cat({at::ones_like(own, at::kBool), counted}, 1)};
}

LossTerms ContrastiveDistillation::against(std::size_t teacher, const std::vector<at::Tensor>& student,
                                           const std::vector<at::Tensor>& theirs,
                                           const DistillationInput& input) const {
  const Banks& banks = banks_[teacher];
  const auto [rows, counted] = contrast(teacher, input);
  const at::Tensor ours = unit_length(banks.student_embedding(student[0]), 1),
                   others = unit_length(banks.teacher_embedding(theirs[0]), 1);
  // Copies: the backward pass needs the banks as they were.
  at::Tensor student_side = scores_at(rows, ours, banks.teacher.clone(), temperature_),
             teacher_side = scores_at(rows, others, banks.student.clone(), temperature_);
  {
    const at::NoGradGuard no_grad;
    const auto images = static_cast<double>(labels_.size(0));
    const auto mean = [&, &mask = counted](const at::Tensor& scores) { return (scores * mask).sum() / mask.sum(); };
    const at::Tensor first = at::stack({mean(student_side), mean(teacher_side)}) * images;
    at::Tensor(banks.normalisers).copy_(at::where(banks.normalisers > 0, banks.normalisers, first));
    move_towards(banks.student, input.indices, ours, momentum_);
    move_towards(banks.teacher, input.indices, others, momentum_);
    at::Tensor(banks.steps).add_(1);
  }
  student_side = student_side / banks.normalisers[0];
  teacher_side = teacher_side / banks.normalisers[1];
  const double noise = static_cast<double>(negatives_) / static_cast<double>(labels_.size(0));
  return {{{"student_side", noise_contrastive(student_side, counted, noise), weight_},
           {"teacher_side", noise_contrastive(teacher_side, counted, noise), weight_}}};
}

// "student_side": the noise contrastive estimate that tells the teacher's embedding of the student's image from those
// of images of other classes; "teacher_side": the same with the networks exchanged. Embeddings of all training images
// lie in two banks [N, width], which follow with the momentum; the estimate's two constants are set by the first batch.
DistillationLossRow crd_row() {
  return {.name = "crd",
          .help = "telling an image's representation from other images' (Tian et al., 2020)",
          .settings = {{"crd_weight", 0.8, at_least(0), "crd: of the terms"},
                       {"crd_negatives", 16384, between(1, kMaxCount),
                        "crd: images of other classes that each image is held against, at most"},
                       {"crd_temperature", 0.07, above(0), "crd: of the cosines"},
                       {"crd_momentum", 0.5, between(0, 1), "crd: of the banks"},
                       {"crd_width", 128, between(1, 1e6), "crd: of the embeddings"}},
          .needs = {.features = true},
          .make = make_loss<ContrastiveDistillation>,
          .defaults = {.kd_weight = 1, .ce_weight = 1}};
}

}  // namespace ekd
