// AugMix's operations against Pillow's outputs, and the fused kernel against hand arithmetic and its own parts.
#include "ekd/kernels/augmix.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>

#include "ekd/core/tensor_file.h"
#include "ekd/kernels/augmix_op.h"
#include "ekd/kernels/pixels.h"
#include "ekd/kernels/views.h"
#include "kernels/augmix/augmix_task.h"
#include "tests/kernels/noise_views.h"

namespace ekd {
namespace {

// uint8 [B, C, H, W] through one operation.
at::Tensor apply(const at::Tensor& images, AugmixOp op, double amount) {
  const at::Tensor out = at::empty_like(images), rotations = augmix_rotations(images.size(2), images.size(3));
  const PlanarShape shape{static_cast<int>(images.size(1)), static_cast<int>(images.size(2)),
                          static_cast<int>(images.size(3))};
  AugmixScratch scratch;
  for (std::int64_t b = 0; b < images.size(0); ++b)
    apply_augmix_op(op, amount, reinterpret_cast<const Affine*>(rotations.const_data_ptr<double>()), shape,
                    images[b].const_data_ptr<std::uint8_t>(), out[b].mutable_data_ptr<std::uint8_t>(), scratch,
                    SerialTeam{});
  return out;
}

struct Case {
  AugmixOp op;
  double amount;
};

// "shear_x_-0.09" → kShearX, -.09
std::optional<Case> case_of(const std::string& name) {
  const std::map<std::string, AugmixOp> ops{{"autocontrast", AugmixOp::kAutocontrast},
                                            {"equalize", AugmixOp::kEqualize},
                                            {"posterize_bits", AugmixOp::kPosterize},
                                            {"rotate_deg", AugmixOp::kRotate},
                                            {"solarize_threshold", AugmixOp::kSolarize},
                                            {"shear_x_", AugmixOp::kShearX},
                                            {"shear_y_", AugmixOp::kShearY},
                                            {"translate_x_", AugmixOp::kTranslateX},
                                            {"translate_y_", AugmixOp::kTranslateY}};
  for (const auto& [prefix, op] : ops)
    if (name.starts_with(prefix)) return Case{op, name == prefix ? 0 : std::stod(name.substr(prefix.size()))};
  return std::nullopt;
}

TEST(AugmixOps, AgreeWithPillowBitForBit) {
  const TensorFile file = read_tensor_file(EKD_GOLDEN_DIR "/augmix_ops.safetensors");
  const at::Tensor& images = file.at("images");
  int compared = 0;
  for (const auto& [name, expected] : file.tensors) {
    if (name == "images") continue;
    const auto known = case_of(name);
    ASSERT_TRUE(known) << name;
    EXPECT_EQ(apply(images, known->op, known->amount).ne(expected).sum().item<std::int64_t>(), 0) << name;
    ++compared;
  }
  EXPECT_EQ(compared, 35);
}

TEST(AugmixOps, OneValueStaysAsItIs) {
  const auto flat = at::full({1, 3, 6, 5}, 77, at::kByte);
  for (const auto op : {AugmixOp::kAutocontrast, AugmixOp::kEqualize, AugmixOp::kNone})
    EXPECT_TRUE(apply(flat, op, 0).equal(flat));
}

// Autocontrast stretches 10 … 60 to 0 … 255: 5.1 v - 51, truncated: 20 → 51, 33 → 117.3 → 117.
TEST(AugmixOps, AutocontrastByHand) {
  const auto image = at::tensor({10, 20, 33, 60}, at::kByte).view({1, 1, 2, 2});
  EXPECT_TRUE(apply(image, AugmixOp::kAutocontrast, 0).flatten().equal(at::tensor({0, 51, 117, 255}, at::kByte)));
}

// 400 pixels, one of them 9, the others 3 (200) and 5 (199): step = 399 / 255 = 1, start 0; entries: 3 → 0, 5 → 200,
// and 9 → 399, which clips to 255.
TEST(AugmixOps, EqualizeByHand) {
  auto image = at::full({1, 1, 20, 20}, 3, at::kByte);
  image.view({400}).narrow(0, 200, 199).fill_(5);
  image.view({400})[399].fill_(9);
  const auto got = apply(image, AugmixOp::kEqualize, 0).view({400});
  EXPECT_TRUE(got.narrow(0, 0, 200).eq(0).all().item<bool>());
  EXPECT_TRUE(got.narrow(0, 200, 199).eq(200).all().item<bool>());
  EXPECT_EQ(got[399].item<int>(), 255);
}

// Translating by whole pixels is what the bilinear path of an affine map gives.
TEST(AugmixOps, TranslationEqualsBilinear) {
  const auto image = noise_images(1, 3, 18, 25);
  for (const int shift : {-30, -7, 0, 1, 24}) {
    const auto got = apply(image, AugmixOp::kTranslateX, shift);
    auto expected = at::zeros({1, 3, 18, 25}, at::kByte);
    const Affine map{{1, 0, static_cast<double>(shift), 0, 1, 0}};
    bilinear_image(map, {3, 18, 25}, image.const_data_ptr<std::uint8_t>(), expected.mutable_data_ptr<std::uint8_t>(),
                   SerialTeam{});
    EXPECT_TRUE(got.equal(expected)) << shift;
  }
}

// Tables for one image whose mixtures both have these chains; base view: the image as it is.
AugmixTables tables_for(const at::Tensor& images, const std::vector<std::vector<Case>>& chains,
                        const std::vector<float>& weights) {
  const auto width = static_cast<std::int64_t>(chains.size());
  const auto depth = static_cast<std::int64_t>(chains.front().size());
  const AugmixTables tables{at::tensor({65536, 0, 32768, 0, 65536, 32768, 0, 0, 0}, at::kInt).view({1, kViewWords}),
                            at::zeros({1, 2, width, depth}, at::kChar), at::zeros({1, 2, width, depth}, at::kDouble),
                            at::tensor(weights, at::kFloat).expand({1, 2, width + 1}).contiguous(),
                            augmix_rotations(images.size(2), images.size(3))};
  for (std::int64_t mixture = 0; mixture < 2; ++mixture)
    for (std::int64_t chain = 0; chain < width; ++chain)
      for (std::int64_t place = 0; place < depth; ++place) {
        const auto [op, amount] = chains[static_cast<std::size_t>(chain)][static_cast<std::size_t>(place)];
        tables.operations[0][mixture][chain][place].fill_(static_cast<int>(op));
        tables.amounts[0][mixture][chain][place].fill_(amount);
      }
  return tables;
}

constexpr Case kEnd{AugmixOp::kNone, 0};

// One pixel of 200, mean .5, std .5: x = .568627. Chains: posterize to 4 bits (192: .505882), solarize at 128 (55:
// -.568627), nothing (x). Mixture .5 · .505882 + .25 · -.568627 + .25 · .568627 = .252941; .6 x + .4 · .252941 =
// .442353.
TEST(AugmixViews, MixesByHand) {
  const auto image = at::full({1, 1, 1, 1}, 200, at::kByte);
  const auto tables =
      tables_for(image, {{{AugmixOp::kPosterize, 4}, kEnd}, {{AugmixOp::kSolarize, 128}, kEnd}, {kEnd, kEnd}},
                 {0.5F, 0.25F, 0.25F, 0.4F});
  const auto views = augmix_views(image, at::zeros({1}, at::kLong), tables, {{0.5F, 0, 0}, {0.5F, 1, 1}}).flatten();
  EXPECT_NEAR(views[0].item<float>(), 0.568627, 1e-6);
  EXPECT_NEAR(views[1].item<float>(), 0.442353, 1e-6);
  EXPECT_NEAR(views[2].item<float>(), 0.442353, 1e-6);
}

// The fused kernel is its parts: base bytes, operations one after another, normalised, summed chain by chain.
TEST(AugmixViews, EqualItsPartsBitForBit) {
  const Normalisation normalisation;
  for (const auto& [height, width] : {std::pair{32, 32}, std::pair{64, 64}, std::pair{24, 40}}) {
    const auto image = noise_images(1, 3, height, width);
    const std::vector<std::vector<Case>> chains{
        {{AugmixOp::kRotate, -7}, {AugmixOp::kEqualize, 0}, {AugmixOp::kShearX, 0.1}},
        {{AugmixOp::kTranslateY, 5}, {AugmixOp::kAutocontrast, 0}, kEnd},
        {{AugmixOp::kShearY, -0.2}, {AugmixOp::kSolarize, 99}, {AugmixOp::kPosterize, 3}}};
    const std::vector<float> weights{0.2F, 0.5F, 0.3F, 0.7F};
    const auto clean = normalised_images(image, normalisation);
    auto mixed = at::zeros({1, 3, height, width}, at::kFloat);
    for (std::size_t i = 0; i < chains.size(); ++i) {
      auto bytes = image;
      for (const auto& [op, amount] : chains[i]) bytes = apply(bytes, op, amount);
      mixed = mixed.add(normalised_images(bytes, normalisation).mul(weights[i]));
    }
    mixed = clean.mul(1.0F - weights[3]).add(mixed.mul(weights[3]));
    const auto tables = tables_for(image, chains, weights);
    const auto views = augmix_views(image, at::zeros({1}, at::kLong), tables, normalisation);
    EXPECT_TRUE(views.narrow(0, 0, 1).equal(clean));
    for (const int mixture : {1, 2}) EXPECT_TRUE(views.narrow(0, mixture, 1).equal(mixed)) << height << " " << mixture;
    const auto rounded = augmix_views(image, at::zeros({1}, at::kLong), tables, normalisation, at::kBFloat16);
    EXPECT_TRUE(rounded.equal(views.to(at::kBFloat16)));
    EXPECT_TRUE(rounded.is_contiguous(at::MemoryFormat::ChannelsLast));
  }
}

TEST(AugmixViews, RefusesTablesThatDoNotFit) {
  const auto image = noise_images(1, 3, 8, 8);
  auto tables = tables_for(image, {{kEnd}}, {1, 0.5F});
  const auto rows = at::zeros({1}, at::kLong);
  EXPECT_NO_THROW(augmix_views(image, rows, tables, Normalisation{}));
  auto wrong = tables;
  wrong.amounts = wrong.amounts.to(at::kFloat);
  EXPECT_THROW(augmix_views(image, rows, wrong, Normalisation{}), c10::Error);
  wrong = tables;
  wrong.weights = at::zeros({1, 2, 3}, at::kFloat);
  EXPECT_THROW(augmix_views(image, rows, wrong, Normalisation{}), c10::Error);
  EXPECT_THROW(augmix_views(noise_images(2, 3, 8, 8), rows, tables, Normalisation{}), c10::Error);
}

}  // namespace
}  // namespace ekd
