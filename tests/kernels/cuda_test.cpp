// The CUDA drivers give the CPU's numbers, bit for bit.
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <vector>

#include "ekd/core/device.h"
#include "ekd/kernels/augmix.h"
#include "ekd/kernels/augmix_op.h"
#include "ekd/kernels/views.h"
#include "tests/kernels/noise_views.h"

#ifdef EKD_WITH_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

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
  double draw(std::int64_t row, std::uint32_t column) const { return NoiseDraws().uniform(row, column); }

  AugmixTables tables(const Size& size) const {
    const AugmixTables tables{noise_views(kImages, size.height, size.width), at::zeros({kImages, 2, 3, 3}, at::kChar),
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

// A batch in reverse order, with partners, and boxes of all sizes.
struct NoiseBatch {
  explicit NoiseBatch(const Size& size, at::Device device)
      : images(noise_images(kImages, size.channels, size.height, size.width).to(device)),
        own{at::arange(kImages - 1, -1, -1, at::kLong).to(device),
            noise_views(kImages, size.height, size.width).to(device), at::arange(kImages, at::kLong).to(device)},
        partners{noise_rows(kImages, kImages, 10).to(device), own.views, noise_rows(kImages, kImages, 11).to(device)},
        boxes{noise_boxes(kImages, size.height, size.width).to(device), own.rows},
        factor(at::full({1}, 0.3F).to(device)) {}
  at::Tensor images;
  SeenImages own, partners;
  ImageBoxes boxes;
  at::Tensor factor;

  // Each kind of image that training makes.
  std::vector<at::Tensor> combined(at::ScalarType dtype) const {
    const Normalisation normalisation;
    SeenImages rotated_first = own;
    rotated_first.order = ViewOrder::kRotateFlipCrop;
    return {normalised_images(images, normalisation, dtype),
            base_view(images, own, normalisation, dtype),
            base_view(images, rotated_first, normalisation, dtype),
            mixed_view(images, own, partners, factor, normalisation, dtype),
            pasted_view(images, own, partners, boxes, normalisation, dtype),
            pasted_view(images, own, partners, {boxes.boxes.narrow(0, 1, 1), {}}, normalisation, dtype),
            blanked_view(images, own, boxes, normalisation, dtype)};
  }
};

AugmixTables to_cuda(const AugmixTables& tables) {
  return {tables.views.cuda(), tables.operations.cuda(), tables.amounts.cuda(), tables.weights.cuda(),
          tables.rotations.cuda()};
}

void expect_same(const at::Tensor& cuda, const at::Tensor& cpu) {
  EXPECT_TRUE(cuda.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_EQ(cuda.scalar_type(), cpu.scalar_type());
  EXPECT_TRUE(cuda.cpu().equal(cpu)) << cpu.sizes();
}

TEST_F(CudaKernels, ViewsEqualTheCpu) {
  for (const auto& size : kSizes)
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      const auto cpu = NoiseBatch(size, at::kCPU).combined(dtype), cuda = NoiseBatch(size, at::kCUDA).combined(dtype);
      for (std::size_t i = 0; i < cpu.size(); ++i) expect_same(cuda[i], cpu[i]);
    }
}

TEST_F(CudaKernels, AugmixEqualsTheCpu) {
  for (const auto& size : kSizes) {
    const auto images = noise_images(kImages, size.channels, size.height, size.width);
    const auto rows = at::arange(kImages - 1, -1, -1, at::kLong);
    const AugmixTables on_cpu = tables(size), on_cuda = to_cuda(on_cpu);
    for (const auto dtype : {at::kFloat, at::kBFloat16})
      expect_same(augmix_views(images.cuda(), rows.cuda(), on_cuda, Normalisation{}, dtype),
                  augmix_views(images, rows, on_cpu, Normalisation{}, dtype));
  }
}

#ifdef EKD_WITH_CUDA
// Rows, boxes and factors are read when the kernels run: a graph made of them follows what is written there later.
TEST_F(CudaKernels, BecomeAGraph) {
  const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
  const NoiseBatch batch(kSizes[0], at::kCUDA);
  const AugmixTables drawn = to_cuda(tables(kSizes[0]));
  const auto make_all = [&] {
    auto images = batch.combined(at::kBFloat16);
    images.push_back(augmix_views(batch.images, batch.own.rows, drawn, Normalisation{}, at::kBFloat16));
    return images;
  };
  make_all();
  at::cuda::CUDAGraph graph;
  graph.capture_begin();
  const auto replayed = make_all();
  graph.capture_end();
  batch.own.rows.copy_(noise_rows(kImages, kImages, 13));
  batch.boxes.boxes.copy_(batch.boxes.boxes.flip({0}));
  batch.factor.fill_(0.6);
  graph.replay();
  const auto expected = make_all();
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(replayed[i].equal(expected[i])) << i;
}
#endif

}  // namespace
}  // namespace ekd
