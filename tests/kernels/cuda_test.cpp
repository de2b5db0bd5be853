// The CUDA drivers give the CPU's numbers, bit for bit.
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "ekd/core/cuda_device.h"
#include "ekd/kernels/augmix.h"
#include "ekd/kernels/augmix_op.h"
#include "ekd/kernels/base_view.h"
#include "ekd/kernels/rotation.h"
#include "tests/kernels/noise_images.h"

namespace ekd {
namespace {

constexpr std::int64_t kImages = 300;
struct Size {
  int channels, height, width;
};
const Size kSizes[] = {{3, 32, 32}, {1, 24, 40}, {3, 64, 64}, {3, 96, 96}};

class CudaKernels : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = cuda_unavailable_reason(); !reason.empty()) GTEST_SKIP() << reason;
  }
  const CountedRandom random_{7, RandomStream::kAugmix};
  double draw(std::int64_t row, std::uint32_t column) const {
    return random_.uniform(0, static_cast<std::uint32_t>(row), column);
  }

  at::Tensor views(const Size& size) const {
    const at::Tensor views = at::zeros({kImages, kViewWords}, at::kInt);
    auto* view = reinterpret_cast<ViewParams*>(views.mutable_data_ptr<std::int32_t>());
    for (std::int64_t i = 0; i < kImages; ++i)
      view[i] = {fixed_affine(rotation_matrix(40 * draw(i, 0) - 20, size.width, size.height)),
                 static_cast<std::int32_t>(9 * draw(i, 1)) - 4, static_cast<std::int32_t>(9 * draw(i, 2)) - 4,
                 static_cast<std::int32_t>(2 * draw(i, 3))};
    return views;
  }

  AugmixTables tables(const Size& size) const {
    const AugmixTables tables{views(size), at::zeros({kImages, 2, 3, 3}, at::kChar),
                              at::zeros({kImages, 2, 3, 3}, at::kDouble), at::empty({kImages, 2, 4}, at::kFloat),
                              augmix_rotations(size.height, size.width)};
    auto* op = tables.operations.mutable_data_ptr<std::int8_t>();
    auto* amount = tables.amounts.mutable_data_ptr<double>();
    for (std::int64_t i = 0; i < tables.operations.numel(); ++i) {
      op[i] = static_cast<std::int8_t>(10 * draw(i, 4));
      const double signed_unit = 2 * draw(i, 5) - 1;
      switch (static_cast<AugmixOp>(op[i])) {
        case AugmixOp::kPosterize:
          amount[i] = static_cast<int>(5 * draw(i, 5));
          break;
        case AugmixOp::kSolarize:
          amount[i] = static_cast<int>(257 * draw(i, 5));
          break;
        case AugmixOp::kShearX:
        case AugmixOp::kShearY:
          amount[i] = 0.3 * signed_unit;
          break;
        default:
          amount[i] = static_cast<int>(30 * signed_unit);
      }
    }
    auto* weight = tables.weights.mutable_data_ptr<float>();
    for (std::int64_t i = 0; i < tables.weights.numel(); ++i) weight[i] = static_cast<float>(draw(i, 6));
    return tables;
  }
};

TEST_F(CudaKernels, BaseViewEqualsTheCpu) {
  for (const auto& size : kSizes) {
    const auto images = noise_images(kImages, size.channels, size.height, size.width);
    const auto rows = at::arange(kImages - 1, -1, -1, at::kLong), view_rows = at::arange(kImages, at::kLong);
    for (const auto order : {ViewOrder::kCropFlipRotate, ViewOrder::kRotateFlipCrop}) {
      const auto cpu = base_view(images, rows, views(size), view_rows, order, Normalisation{});
      const auto cuda =
          base_view(images.cuda(), rows.cuda(), views(size).cuda(), view_rows.cuda(), order, Normalisation{});
      EXPECT_TRUE(cuda.is_contiguous(at::MemoryFormat::ChannelsLast));
      EXPECT_TRUE(cuda.cpu().equal(cpu)) << size.height;
    }
    EXPECT_TRUE(
        normalised_images(images.cuda(), Normalisation{}).cpu().equal(normalised_images(images, Normalisation{})));
  }
}

TEST_F(CudaKernels, AugmixEqualsTheCpu) {
  for (const auto& size : kSizes) {
    const auto images = noise_images(kImages, size.channels, size.height, size.width);
    const auto rows = at::arange(kImages - 1, -1, -1, at::kLong);
    const AugmixTables on_cpu = tables(size);
    const AugmixTables on_cuda{on_cpu.views.cuda(), on_cpu.operations.cuda(), on_cpu.amounts.cuda(),
                               on_cpu.weights.cuda(), on_cpu.rotations.cuda()};
    const auto cpu = augmix_views(images, rows, on_cpu, Normalisation{});
    const auto cuda = augmix_views(images.cuda(), rows.cuda(), on_cuda, Normalisation{});
    EXPECT_TRUE(cuda.is_contiguous(at::MemoryFormat::ChannelsLast));
    EXPECT_TRUE(cuda.cpu().equal(cpu)) << size.height;
  }
}

}  // namespace
}  // namespace ekd
