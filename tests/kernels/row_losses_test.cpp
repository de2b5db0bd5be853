// Losses of rows against LibTorch in float64, on a GPU's kernels run thread by thread on the CPU, and on a GPU where
// there is one.
#include "ekd/kernels/row_losses.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>
#include <gtest/gtest.h>

#include <cmath>
#include <optional>

#include "tests/support/fused_kernels.h"

namespace ekd {
namespace {

class RowLosses : public testing::TestWithParam<Kernels> {
 protected:
  void SetUp() override {
    if (const auto reason = missing(GetParam()); !reason.empty()) GTEST_SKIP() << reason;
    kernels_.emplace(GetParam());
    at::manual_seed(11);
  }
  at::Tensor here(const at::Tensor& x) const { return x.to(device_of(GetParam())); }

 private:
  std::optional<OnKernels> kernels_;
};

// How wrong float32 may make logits of this size.
double rounding(const at::Tensor& logits) { return 3e-7 * logits.abs().max().item<double>(); }

void expect_within(const at::Tensor& actual, const at::Tensor& expected, double tolerance, const std::string& what) {
  ASSERT_EQ(actual.sizes(), expected.sizes()) << what;
  EXPECT_EQ(actual.scalar_type(), at::kFloat) << what;
  EXPECT_LE((actual.to(at::kDouble) - expected).abs().max().item<double>(), tolerance) << what;
}

TEST_P(RowLosses, SoftenedLogits) {
  constexpr double kNothing = -5;
  const at::Tensor logits = 10 * at::randn({3, 7, 100}), all = at::ones({7, 100}, at::kBool);
  at::Tensor mask = at::rand({7, 100}) < 0.5;
  mask[2].fill_(false);
  for (const bool masked : {false, true})
    for (const at::Tensor& from : {logits, logits[0]}) {
      const at::Tensor count = (masked ? mask : all).sum(-1, /*keepdim=*/true).clamp_min(1);
      const at::Tensor wide = from.to(at::kDouble), counted = masked ? at::where(mask, wide, 0) : wide;
      const at::Tensor softened = (wide - counted.sum(-1, /*keepdim=*/true) / count) / 4;
      expect_within(fused_softened(here(from), 4, masked ? here(mask) : at::Tensor(), kNothing).cpu(),
                    masked ? at::where(mask, softened, kNothing) : softened, rounding(from), "softened");
    }
}

struct Shape {
  std::int64_t targets, batch, classes;
};

// A divergence with weights, masks and students of one target or of several, against its definition.
struct DivergenceCase {
  Shape shape;
  bool weights = false, of_samples = false, mask = false, own_students = false;
};

void check_divergence(const DivergenceCase& asked, double temperature, double size, const at::Device& device) {
  constexpr double kScale = 2.5, kNothing = -1e30;
  const auto [targets, batch, classes] = asked.shape;
  const at::Tensor teachers = size * at::randn({targets, batch, classes});
  const at::Tensor student =
      size * (asked.own_students ? at::randn({targets, batch, classes}) : at::randn({batch, classes}));
  if (batch > 1) student.select(-2, 0).copy_(teachers[0][0]);  // nothing to be told apart
  at::Tensor mask = at::ones({targets, batch, classes}, at::kBool);
  if (asked.mask) {
    mask = at::rand(mask.sizes()) < 0.5;
    if (batch > 1) mask.select(-2, 1).fill_(false);
  }
  const at::Tensor count = mask.sum(-1, /*keepdim=*/true).clamp_min(1);
  const at::Tensor centred = teachers - at::where(mask, teachers, 0).sum(-1, /*keepdim=*/true) / count;
  Divergence of{.target = at::where(mask, centred / temperature, -200).to(device),
                .weights = {},
                .temperature = temperature,
                .scale = kScale,
                .classes = asked.mask ? mask.to(device) : at::Tensor()};
  if (asked.weights) of.weights = (0.5 + at::rand({targets, asked.of_samples ? batch : 1})).to(device);
  const RowLoss loss = fused_divergence(student.to(device), of);

  const at::Tensor leaf = student.to(at::kDouble).requires_grad_();
  const auto log_softmax = [&](const at::Tensor& logits) {
    return at::log_softmax(at::where(mask, logits, kNothing), -1);
  };
  const at::Tensor log_p = log_softmax(of.target.cpu().to(at::kDouble)), log_q = log_softmax(leaf / temperature);
  at::Tensor rows = (log_p.exp() * (log_p - log_q)).sum(-1);
  if (asked.weights) rows = rows * of.weights.cpu().to(at::kDouble);
  const at::Tensor expected = rows.sum() * (kScale / static_cast<double>(batch));
  expected.backward();

  // Logits that are wrong by so much change a divergence v by at most √(2v) times that (Pinsker), and its square.
  const double wrong = 2 * rounding(at::cat({teachers.view(-1), student.view(-1)}) / temperature);
  const double most = 1.5 * kScale * static_cast<double>(targets), value = expected.item<double>();
  expect_within(loss.value, expected.detach(),
                1e-5 * value + 2 * wrong * std::sqrt(2 * most * std::abs(value)) + most * wrong * wrong, "value");
  EXPECT_GE(loss.value.item<double>(), 0);
  expect_within(
      loss.gradient, leaf.grad(),
      1e-5 * leaf.grad().abs().max().item<double>() + 2 * wrong * most / temperature / static_cast<double>(batch),
      "gradient");
}

TEST_P(RowLosses, ADivergenceAndItsGradient) {
  for (const DivergenceCase& asked :
       {DivergenceCase{{1, 1, 1}}, DivergenceCase{{1, 7, 3}}, DivergenceCase{{3, 7, 100}, true},
        DivergenceCase{{4, 7, 100}, true, true}, DivergenceCase{{4, 1, 1000}}, DivergenceCase{{1, 64, 100}},
        DivergenceCase{{3, 7, 100}, true, true, true}, DivergenceCase{{3, 7, 2}, true, false, false, true},
        DivergenceCase{{3, 7, 40}, false, false, true, true}})
    for (const double temperature : {0.5, 4.0, 50.0, 1000.0})
      for (const double size : {3.0, 1e4}) {
        const Shape& shape = asked.shape;
        SCOPED_TRACE(std::to_string(shape.targets) + " targets, " + std::to_string(shape.batch) + " × " +
                     std::to_string(shape.classes) + " at " + std::to_string(temperature) + " of " +
                     std::to_string(size) + (asked.mask ? ", masked" : ""));
        check_divergence(asked, temperature, size, device_of(GetParam()));
      }
}

TEST_P(RowLosses, ACrossEntropyAndItsGradient) {
  for (const Shape& shape : {Shape{1, 1, 1}, Shape{1, 7, 3}, Shape{1, 64, 100}, Shape{1, 7, 1000}})
    for (const double size : {3.0, 1e4})
      for (const double smoothing : {0.0, 0.1}) {
        const std::string what = std::to_string(shape.batch) + " × " + std::to_string(shape.classes) + " of " +
                                 std::to_string(size) + " smoothed by " + std::to_string(smoothing);
        const at::Tensor logits = here(size * at::randn({shape.batch, shape.classes}));
        const at::Tensor targets = here(at::softmax(3 * at::randn({shape.batch, shape.classes}), 1));
        const RowLoss loss = fused_cross_entropy(logits, targets, smoothing);

        const at::Tensor leaf = logits.to(at::kDouble).requires_grad_();
        const at::Tensor smoothed =
            targets.to(at::kDouble) * (1 - smoothing) + smoothing / static_cast<double>(shape.classes);
        const at::Tensor expected =
            (smoothed * at::log_softmax(leaf, 1)).sum() * (-1 / static_cast<double>(shape.batch));
        expected.backward();
        expect_within(loss.value, expected.detach(), 1e-6 * expected.item<double>() + rounding(logits), what);
        expect_within(loss.gradient, leaf.grad(), (1e-6 + rounding(logits)) / double(shape.batch), what);
      }
}

TEST_P(RowLosses, AJensenShannonDivergenceAndItsGradient) {
  for (const Shape& shape : {Shape{3, 7, 100}, Shape{1, 7, 3}, Shape{2, 1, 1000}, Shape{3, 2, 1}})
    for (const double size : {1e-3, 3.0, 100.0}) {
      const auto& [views, batch, classes] = shape;
      const at::Tensor logits = here(size * at::randn({views * batch, classes}));
      const RowLoss loss = fused_jensen_shannon(logits, views);

      const at::Tensor leaf = logits.to(at::kDouble).requires_grad_();
      const at::Tensor log_p = at::log_softmax(leaf, 1).view({views, batch, classes}), p = log_p.exp();
      const at::Tensor rows = p * (log_p - p.mean(0, /*keepdim=*/true).clamp(1e-7, 1).log());
      const at::Tensor expected = rows.sum() / static_cast<double>(views * batch);
      expected.backward();
      const std::string what = std::to_string(views) + " views of " + std::to_string(size);
      expect_within(loss.value, expected.detach(), 3e-6 + rounding(logits), what);
      expect_within(loss.gradient, leaf.grad(), (3e-6 + 10 * rounding(logits)) / static_cast<double>(views * batch),
                    what);
    }
}

TEST_P(RowLosses, RowsThatDoNotLieOneAfterAnotherAndTheSameBitsTwice) {
  const at::Tensor student = here(at::randn({100, 9})), targets = here(at::randn({3, 100, 9})),
                   weights = here(at::rand({9, 3}));
  const auto divergence = [](const at::Tensor& logits, const at::Tensor& target, const at::Tensor& weight) {
    return fused_divergence(logits, {target, weight, 4, 16, {}});
  };
  const RowLoss turned = divergence(student.t(), targets.transpose(1, 2), weights.t());
  const auto expect_the_same = [](const RowLoss& a, const RowLoss& b) {
    EXPECT_TRUE(a.value.equal(b.value));
    EXPECT_TRUE(a.gradient.equal(b.gradient));
  };
  expect_the_same(turned,
                  divergence(student.t().contiguous(), targets.transpose(1, 2).contiguous(), weights.t().contiguous()));
  const at::Tensor soft = at::softmax(targets[0], 0);
  expect_the_same(fused_cross_entropy(student.t(), soft.t(), 0.1),
                  fused_cross_entropy(student.t().contiguous(), soft.t().contiguous(), 0.1));
}

TEST_P(RowLosses, ANumberThatIsNoneIsNotHidden) {
  const at::Tensor sound = here(at::randn({3, 5})), broken = sound.clone(), probabilities = at::softmax(sound, 1);
  broken[1][2] = NAN;
  const auto expect_broken = [](const RowLoss& loss) {
    EXPECT_TRUE(loss.value.isnan().item<bool>());
    EXPECT_TRUE(loss.gradient[1].isnan().all().item<bool>());
    EXPECT_TRUE(at::cat({loss.gradient[0], loss.gradient[2]}).isfinite().all().item<bool>());
  };
  expect_broken(fused_divergence(broken, {.target = sound.unsqueeze(0), .weights = {}, .classes = {}}));
  expect_broken(fused_divergence(sound, {.target = broken.unsqueeze(0), .weights = {}, .classes = {}}));
  expect_broken(fused_cross_entropy(broken, probabilities, 0));
}

TEST(RowLossesOfACpu, AreLibTorchs) { EXPECT_FALSE(row_losses_take(at::randn({2, 3}), at::randn({2, 3}))); }

TEST_P(RowLosses, TakeOnlyWhatTheyCan) {
  const at::Tensor logits = here(at::randn({2, 3}));
  EXPECT_TRUE(row_losses_take(logits, logits));
  EXPECT_FALSE(row_losses_take(logits.to(at::kDouble), logits.to(at::kDouble)));
  EXPECT_FALSE(row_losses_take(logits.narrow(0, 0, 0), logits.narrow(0, 0, 0)));
  EXPECT_THROW(fused_divergence(logits, {.target = logits.unsqueeze(-1), .weights = {}, .classes = {}}), c10::Error);
  EXPECT_THROW(fused_cross_entropy(logits, logits.t(), 0), c10::Error);
}

INSTANTIATE_TEST_SUITE_P(Devices, RowLosses, testing::Values(Kernels::kEmulated, Kernels::kCuda));

}  // namespace
}  // namespace ekd
