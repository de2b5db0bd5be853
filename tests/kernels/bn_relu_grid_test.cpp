// The CUDA kernels' cut of a tensor, and all they compute, thread after thread on the CPU, against the CPU's kernels.
#include "kernels/bn_relu/bn_relu_passes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "tests/kernels/bn_relu_inputs.h"

namespace ekd {
namespace {

TEST(BnReluGrid, EveryNumberBelongsToOneThread) {
  struct Shape {
    std::int64_t rows;
    int channels, vector;
  };
  for (const auto& [rows, channels, vector] :
       {Shape{1, 1, 1}, Shape{5, 16, 8}, Shape{131'072, 16, 8}, Shape{3'000, 54, 2}, Shape{65'537, 60, 4},
        Shape{1'024, 960, 8}, Shape{1'024, 960, 4}, Shape{131, 1'030, 2}, Shape{77, 999, 1}}) {
    const BnReluGrid grid = bn_relu_grid(rows, channels, vector);
    EXPECT_LE(grid.width * grid.pass, kBnReluThreads);
    EXPECT_LE(grid.blocks, 528);
    const int columns = channels / vector;
    std::vector<int> visits(rows * columns);
    for (int block = 0; block < grid.blocks; ++block)
      for (int tile = 0; tile < grid.tiles; ++tile)
        for (int thread = 0; thread < kBnReluThreads; ++thread) {
          const BnReluPlace place = bn_relu_place(grid, block, tile, thread);
          ASSERT_LE(place.channel + vector, channels);
          for (std::int64_t row = place.begin; row < place.end; row += place.step)
            ++visits.at(row * columns + place.channel / vector);
        }
    EXPECT_EQ(std::count(visits.begin(), visits.end(), 1), rows * columns) << rows << " rows, " << channels;
    EXPECT_LT(bn_relu_place(grid, grid.blocks - 1, 0, 0).begin, rows) << "a block without rows";
  }
}

TEST(BnReluGrid, NeighboursInABlockAreNeighboursInMemory) {
  const BnReluGrid grid = bn_relu_grid(4'096, 54, 2);
  for (int thread = 0; thread < grid.width * grid.pass; ++thread) {
    const BnReluPlace place = bn_relu_place(grid, 3, 0, thread);
    EXPECT_EQ(place.begin * 54 + place.channel, 3 * grid.rows_per_block * 54 + 2 * thread);
  }
}

TEST(BnReluGrid, VectorsFitChannelsAndAddresses) {
  EXPECT_EQ(bn_relu_vector(64, 2, 0x7000, 0x7000), 8);
  EXPECT_EQ(bn_relu_vector(64, 4, 0x7000, 0x7000), 4);
  EXPECT_EQ(bn_relu_vector(60, 2, 0x7000, 0x7000), 4);
  EXPECT_EQ(bn_relu_vector(54, 4, 0x7000, 0x7000), 2);
  EXPECT_EQ(bn_relu_vector(7, 2, 0x7000, 0x7000), 1);
  EXPECT_EQ(bn_relu_vector(64, 2, 0x7008, 0x7000), 4);
  EXPECT_EQ(bn_relu_vector(64, 2, 0x7002, 0x7000), 1);
  EXPECT_EQ(bn_relu_vector(64, 4, 0x7000, 0x7008), 2);
  EXPECT_EQ(bn_relu_vector(64, 2, 0x7000, 0x7004), 1);
}

TEST(BnReluGrid, Bf16RoundsAsLibTorch) {
  const at::Tensor values = at::randn(4'096) * at::arange(4'096).sub(2'048).div(64).exp();
  const at::Tensor rounded = values.to(at::kBFloat16).to(at::kFloat);
  for (std::int64_t i = 0; i < values.numel(); ++i)
    EXPECT_EQ(to_float(from_float<Bf16>(values.const_data_ptr<float>()[i])), rounded.const_data_ptr<float>()[i]);
  EXPECT_TRUE(std::isnan(to_float(from_float<Bf16>(NAN))));
}

// The launches of bn_relu.cu, one thread after the other.
template <class Pass, class Task>
void run_pass(const Task& task) {
  for (int block = 0; block < task.grid.blocks; ++block)
    for (int tile = 0; tile < task.grid.tiles; ++tile)
      for (int thread = 0; thread < kBnReluThreads; ++thread) {
        const BnReluPlace place = bn_relu_place(task.grid, block, tile, thread);
        Pass pass(task, place);
        each_row<4>(place, task.grid.channels, pass);
      }
}

template <class Pass, int V, class Task>
void run_sums(const Task& task) {
  const auto shared = std::make_unique<BnReluShared<V>>();
  std::vector<BnReluPlace> places(kBnReluThreads);
  for (int block = 0; block < task.grid.blocks; ++block)
    for (int tile = 0; tile < task.grid.tiles; ++tile) {
      for (int thread = 0; thread < kBnReluThreads; ++thread) {
        places[thread] = bn_relu_place(task.grid, block, tile, thread);
        Pass pass(task, places[thread]);
        each_row<2>(places[thread], task.grid.channels, pass);
        shared->put(thread, pass.sums);
      }
      for (int rows = task.grid.pass; rows > 1; rows = half_of(rows))
        for (int thread = 0; thread < kBnReluThreads; ++thread)
          if (places[thread].row + half_of(rows) < rows) shared->add(thread, thread + half_of(rows) * task.grid.width);
      for (int thread = 0; thread < kBnReluThreads; ++thread)
        if (places[thread].works && places[thread].row == 0)
          shared->take(thread, block, task.grid.channels, places[thread].channel, task.partials);
    }
}

template <class T, class Task>
void run_totals(const Task& task) {
  for (int channel = 0; channel < task.grid.channels; ++channel) {
    ChannelTotals lanes[kBnReluSumLanes];
    for (int lane = 0; lane < kBnReluSumLanes; ++lane)
      lanes[lane] = lane_totals(task.partials, task.grid, channel, lane);
    for (int count = kBnReluSumLanes; count > 1; count = half_of(count))
      for (int lane = 0; lane + half_of(count) < count; ++lane) {
        lanes[lane].first += lanes[lane + half_of(count)].first;
        lanes[lane].second += lanes[lane + half_of(count)].second;
      }
    finish_channel<T>(task, channel, lanes[0]);
  }
}

template <class T, int V>
void run_forward(const BnReluForwardTask& task) {
  run_sums<MomentsPass<T, V>, V>(task);
  run_totals<T>(task);
  task.residual ? run_pass<ForwardPass<T, V, true>>(task) : run_pass<ForwardPass<T, V, false>>(task);
}

template <class T, int V>
void run_backward(const BnReluBackwardTask& task) {
  task.y ? run_sums<BackwardSumsPass<T, V, true>, V>(task) : run_sums<BackwardSumsPass<T, V, false>, V>(task);
  run_totals<T>(task);
  task.y ? run_pass<BackwardInputPass<T, V, true>>(task) : run_pass<BackwardInputPass<T, V, false>>(task);
}

template <class T>
void run(const BnReluForwardTask& task) {
  const int vector = task.grid.vector;
  (vector == 8   ? run_forward<T, 8>
   : vector == 4 ? run_forward<T, 4>
   : vector == 2 ? run_forward<T, 2>
                 : run_forward<T, 1>)(task);
}
template <class T>
void run(const BnReluBackwardTask& task) {
  const int vector = task.grid.vector;
  (vector == 8   ? run_backward<T, 8>
   : vector == 4 ? run_backward<T, 4>
   : vector == 2 ? run_backward<T, 2>
                 : run_backward<T, 1>)(task);
}

class BnReluOnCudaThreads : public testing::TestWithParam<std::tuple<BnReluCase, at::ScalarType, bool>> {
 protected:
  const BnReluCase size_ = std::get<0>(GetParam());
  const at::ScalarType type_ = std::get<1>(GetParam());
  const bool residual_ = std::get<2>(GetParam());
  const BnReluInputs in_{size_, type_, residual_};
  const double tolerance_ = allowed_difference(type_);

  BnReluGrid grid() const {
    const auto channels = static_cast<int>(size_.channels);
    const int vector = bn_relu_vector(channels, static_cast<int>(in_.x.element_size()), 0, 0);
    return bn_relu_grid(in_.x.numel() / channels, channels, vector);
  }
  at::Tensor floats(std::int64_t rows) const { return at::full({rows, size_.channels}, NAN); }
  template <class Task>
  void run_typed(const Task& task) const {
    type_ == at::kFloat ? run<float>(task) : run<Bf16>(task);
  }
};

TEST_P(BnReluOnCudaThreads, ForwardEqualsTheCpu) {
  const BnRunning running{in_.running.mean.clone(), in_.running.var.clone(), in_.running.momentum};
  const auto expected = bn_relu_forward(in_.x, in_.residual, in_.parameters, running);
  BnReluForwardTask task{};
  task.grid = grid();
  const at::Tensor y = at::full_like(in_.x, NAN), partials = floats(2 * task.grid.blocks);
  std::vector<at::Tensor> values;
  for (auto** value : {&task.mean, &task.invstd, &task.scale, &task.shift}) {
    values.push_back(at::full({size_.channels}, NAN));
    *value = values.back().mutable_data_ptr<float>();
  }
  task.x = in_.x.const_data_ptr();
  task.residual = residual_ ? in_.residual.const_data_ptr() : nullptr;
  task.y = y.mutable_data_ptr();
  task.weight = in_.parameters.weight.const_data_ptr<float>();
  task.bias = in_.parameters.bias.const_data_ptr<float>();
  task.eps = in_.parameters.eps;
  task.momentum = in_.running.momentum;
  task.running_mean = in_.running.mean.mutable_data_ptr<float>();
  task.running_var = in_.running.var.mutable_data_ptr<float>();
  task.partials = partials.mutable_data_ptr<float>();
  run_typed(task);
  const BnSaved exact = exact_statistics(in_.x, in_.parameters.eps);
  EXPECT_LT(largest_difference(values[0], exact.mean), kStatisticsOfCuda);
  EXPECT_LT(largest_difference(values[1], exact.invstd), kStatisticsOfCuda);
  EXPECT_LT(largest_difference(in_.running.mean, running.mean), kStatisticsOfCpu);
  EXPECT_LT(largest_difference(in_.running.var, running.var), kStatisticsOfCpu);
  EXPECT_LT(largest_difference(y, expected.y), tolerance_);
  EXPECT_FALSE(partials.isnan().any().item<bool>()) << "a partial sum was not written";
}

TEST_P(BnReluOnCudaThreads, GradientsEqualTheCpu) {
  const auto forward = bn_relu_forward(in_.x, in_.residual, in_.parameters, in_.running);
  const at::Tensor result = residual_ ? forward.y : at::Tensor();
  const auto expected = bn_relu_backward(in_.grad, in_.x, result, in_.parameters, forward.saved);
  BnReluBackwardTask task{};
  task.grid = grid();
  const at::Tensor grad_x = at::full_like(in_.x, NAN), masked = at::full_like(in_.x, NAN);
  const at::Tensor partials = floats(2 * task.grid.blocks);
  std::vector<at::Tensor> values;
  for (auto** value : {&task.grad_weight, &task.grad_bias, &task.scale, &task.shift, &task.by_x, &task.constant}) {
    values.push_back(at::full({size_.channels}, NAN));
    *value = values.back().mutable_data_ptr<float>();
  }
  task.grad = in_.grad.const_data_ptr();
  task.x = in_.x.const_data_ptr();
  task.y = residual_ ? forward.y.const_data_ptr() : nullptr;
  task.grad_x = grad_x.mutable_data_ptr();
  task.masked = residual_ ? masked.mutable_data_ptr() : nullptr;
  task.weight = in_.parameters.weight.const_data_ptr<float>();
  task.bias = in_.parameters.bias.const_data_ptr<float>();
  task.mean = forward.saved.mean.const_data_ptr<float>();
  task.invstd = forward.saved.invstd.const_data_ptr<float>();
  task.partials = partials.mutable_data_ptr<float>();
  run_typed(task);
  EXPECT_LT(largest_difference(values[0], expected.weight), 1e-5);
  EXPECT_LT(largest_difference(values[1], expected.bias), 1e-5);
  EXPECT_LT(largest_difference(grad_x, expected.x), tolerance_);
  if (residual_) {
    EXPECT_TRUE(masked.equal(expected.residual));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, BnReluOnCudaThreads,
                         testing::Combine(testing::ValuesIn(kBnReluCases), testing::Values(at::kFloat, at::kBFloat16),
                                          testing::Bool()));

}  // namespace
}  // namespace ekd
