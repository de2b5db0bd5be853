// The passes between convolutions that cannot be part of one: the end of a block (normalisation, addition, ReLU), its
// gradient with the sums for the normalisation's, the moments of a tensor whose maker did not take them, the gradient
// by a normalisation's input where others read it too, and ShuffleNet's pooled shortcut. Tensors are bfloat16,
// channels_last, cut among threads as bn_relu_passes.h says.
#pragma once

#include "kernels/bn_relu/bn_relu_passes.h"
#include "kernels/fused/rows.h"

namespace ekd {

enum class Join { kForward, kBackward, kMoments, kNormalisedGradient };

struct JoinTask {
  Join kind;
  BnReluGrid grid;
  Operand z;             // normalised; for kNormalisedGradient a gradient
  const Bf16* residual;  // null, or added: before ReLU, or to the result for kNormalisedGradient
  Bf16* y;               // [rows, y_pitch]: the result
  int y_pitch;
  const Bf16* grad;  // backward: by y, [rows, y_pitch]
  Bf16* masked;      // backward: grad behind the mask of ReLU, [rows, channels]
  Fixed* totals;     // moments or slopes
};

struct JoinPlace {
  BnReluPlace rows;
  int first, count;  // channels of the block
};
EKD_TEAM_TEMPLATE
template <class Block>
EKD_HOST_DEVICE inline JoinPlace join_place(Block& block, const BnReluGrid& grid) {
  const int first = block.y() * grid.width * grid.vector, left = grid.channels - first;
  return {bn_relu_place(grid, block.x(), block.y(), block.thread()), first,
          left < grid.width * grid.vector ? left : grid.width * grid.vector};
}

// The coefficients of the block's channels in shared memory.
EKD_TEAM_TEMPLATE
template <class Block>
EKD_HOST_DEVICE inline const float* join_coefficients(Block& block, const JoinTask& task, const JoinPlace& place) {
  auto* coefficients = reinterpret_cast<float*>(block.shared());
  load_coefficients(block, task.z, place.first, place.count, coefficients);
  block.sync();
  return coefficients;
}

// Adds a block's sums to the first two rows of task.totals.
EKD_TEAM_TEMPLATE
template <int V, class Block>
EKD_HOST_DEVICE inline void add_join_sums(Block& block, const JoinTask& task, const JoinPlace& place,
                                          const BnReluSums<V>& sums, float one, int bad_row) {
  auto& shared = *reinterpret_cast<BnReluShared<V>*>(block.shared());
  block.sync();  // the coefficients there have been read
  const int thread = block.thread();
  shared.put(thread, sums);
  for (int rows = task.grid.pass; rows > 1; rows = half_of(rows)) {
    block.sync();
    if (place.rows.row + half_of(rows) < rows) shared.add(thread, thread + half_of(rows) * task.grid.width);
  }
  block.sync();
  for (int i = thread; i < 2 * place.count; i += kBnReluThreads) {
    const int which = i / place.count, c = i % place.count;
    const float sum = which == 0 ? shared.first[c % V][c / V] : shared.second[c % V][c / V];
    Fixed* to = task.totals + place.first + c;
    add_fixed(block, sum, one, to + which * task.grid.channels, to + bad_row * task.grid.channels);
  }
}

// y = max(normalised z + residual, 0).
template <int V>
struct JoinForward {
  static constexpr int kThreads = kBnReluThreads, kBlocksAtOnce = 4;
  JoinTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    const JoinPlace place = join_place(block, task.grid);
    const float* from = join_coefficients(block, task, place);
    if (!place.rows.works) return;
    const int column = place.rows.channel - place.first;
    float scale[V], shift[V];
    for (int v = 0; v < V; ++v) {
      scale[v] = from[column + v];
      shift[v] = from[2 * place.count + column + v];
    }
#pragma unroll 2
    for (std::int64_t row = place.rows.begin; row < place.rows.end; row += place.rows.step) {
      const std::int64_t at = row * task.grid.channels + place.rows.channel;
      const auto z = load_lanes<V>(task.z.x + at);
      Lanes<Bf16, V> residual{}, out;
      if (task.residual) residual = load_lanes<V>(task.residual + at);
      for (int v = 0; v < V; ++v)
        out.at[v] = from_float<Bf16>(
            rectified(bn_normalised(to_float(z.at[v]), {scale[v], shift[v]}) + to_float(residual.at[v])));
      store_lanes<V>(out, task.y + row * task.y_pitch + place.rows.channel);
    }
  }
};

// masked = grad where y > 0, and the slopes of z's normalisation.
template <int V>
struct JoinBackward {
  static constexpr int kThreads = kBnReluThreads, kBlocksAtOnce = 4;
  JoinTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    const JoinPlace place = join_place(block, task.grid);
    BnReluSums<V> sums{};
    if (place.rows.works) {
      float mean[V];
      for (int v = 0; v < V; ++v) mean[v] = norm_channel(task.z.norm, place.rows.channel + v).mean;
#pragma unroll 2
      for (std::int64_t row = place.rows.begin; row < place.rows.end; row += place.rows.step) {
        const std::int64_t at = row * task.grid.channels + place.rows.channel;
        const std::int64_t wide = row * task.y_pitch + place.rows.channel;
        const auto y = load_lanes<V>(task.y + wide), grad = load_lanes<V>(task.grad + wide);
        const auto z = load_lanes<V>(task.z.x + at);
        Lanes<Bf16, V> out;
        for (int v = 0; v < V; ++v) {
          const float g = relu_masked(to_float(y.at[v]), to_float(grad.at[v]));
          out.at[v] = from_float<Bf16>(g);
          sums.first[v] += g;
          sums.second[v] = fmaf(g, to_float(z.at[v]) - mean[v], sums.second[v]);
        }
        store_lanes<V>(out, task.masked + at);
      }
    }
    add_join_sums(block, task, place, sums, kGradientOne, kSlopeBad);
  }
};

// The moments of z.x.
template <int V>
struct MomentsKernel {
  static constexpr int kThreads = kBnReluThreads, kBlocksAtOnce = 4;
  JoinTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    const JoinPlace place = join_place(block, task.grid);
    BnReluSums<V> sums{};
#pragma unroll 2
    for (std::int64_t row = place.rows.begin; row < place.rows.end; row += place.rows.step) {
      const auto x = load_lanes<V>(task.z.x + row * task.grid.channels + place.rows.channel);
      for (int v = 0; v < V; ++v) {
        const float value = to_float(x.at[v]);
        sums.first[v] += value;
        sums.second[v] = fmaf(value, value, sums.second[v]);
      }
    }
    add_join_sums(block, task, place, sums, kMomentsOne, kMomentBad);
  }
};

// y = the gradient by z.z, the normalisation's input, from z.x, the gradient behind the mask; plus `residual`, the
// gradient of what else read that input.
template <int V>
struct NormalisedGradient {
  static constexpr int kThreads = kBnReluThreads, kBlocksAtOnce = 4;
  JoinTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    const JoinPlace place = join_place(block, task.grid);
    const float* from = join_coefficients(block, task, place);
    if (!place.rows.works) return;
    const RowReader<V> reader(task.z, place.first, from, place.count, place.rows.channel - place.first);
#pragma unroll 2
    for (std::int64_t row = place.rows.begin; row < place.rows.end; row += place.rows.step) {
      const std::int64_t at = row * task.grid.channels;
      const auto loaded = reader.load(at);
      Packed<V> residual{};
      if (task.residual) residual = load_packed<V>(task.residual + at + place.rows.channel);
      Packed<V> out = reader.value(loaded);
      for (int w = 0; w < Packed<V>::kWords; ++w) {
        const std::uint32_t one = out.words.at[w], other = residual.words.at[w];
        out.words.at[w] = packed_pair(lower_of(one) + lower_of(other), upper_of(one) + upper_of(other));
      }
      store_packed<V>(out, task.y + at + place.rows.channel);
    }
  }
};

template <template <int> class Kernel, class Task, class Run>
auto run_vectors(int vector, const Task& task, const LaunchShape& shape, const Run& run) {
  switch (vector) {
    case 8:
      return run(Kernel<8>{task}, shape);
    case 4:
      return run(Kernel<4>{task}, shape);
    case 2:
      return run(Kernel<2>{task}, shape);
    default:
      return run(Kernel<1>{task}, shape);
  }
}

template <class Run>
auto run_fused(const JoinTask& task, const Run& run) {
  const std::size_t coefficients = 4 * static_cast<std::size_t>(kCoefficients) * task.grid.width * task.grid.vector;
  const std::size_t sums = 8 * static_cast<std::size_t>(kBnReluThreads) * task.grid.vector;
  const LaunchShape shape{task.grid.blocks, task.grid.tiles, 1, kBnReluThreads,
                          coefficients > sums ? coefficients : sums};
  switch (task.kind) {
    case Join::kForward:
      return run_vectors<JoinForward>(task.grid.vector, task, shape, run);
    case Join::kBackward:
      return run_vectors<JoinBackward>(task.grid.vector, task, shape, run);
    case Join::kMoments:
      return run_vectors<MomentsKernel>(task.grid.vector, task, shape, run);
    default:
      return run_vectors<NormalisedGradient>(task.grid.vector, task, shape, run);
  }
}

// Average pooling 3×3, stride 2, padded by 1 with zeros that count: to channels first, … of y.
struct PoolTask {
  int images, height, width, channels;  // of x; sides are even
  int vector;
  const Bf16* x;
  Bf16* y;  // [images, height / 2, width / 2, y_pitch], its channels from `first` on
  int y_pitch, first;
  const Bf16* grad;  // backward: like y
  Bf16* grad_x;      // like x

  EKD_HOST_DEVICE std::int64_t pixels() const { return static_cast<std::int64_t>(images) * height * width; }
};
constexpr int kPoolThreads = 256;

template <int V>
struct PoolForward {
  static constexpr int kThreads = kPoolThreads, kBlocksAtOnce = 4;
  PoolTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    const int columns = task.channels / V, out_width = task.width / 2, out_height = task.height / 2;
    const std::int64_t at = static_cast<std::int64_t>(block.x()) * kPoolThreads + block.thread();
    if (at >= task.pixels() / 4 * columns) return;
    const std::int64_t pixel = at / columns;
    const int column = static_cast<int>(at % columns) * V, x = static_cast<int>(pixel % out_width);
    const int y = static_cast<int>(pixel / out_width % out_height);
    const std::int64_t image = pixel / out_width / out_height;
    float sums[V] = {};
#pragma unroll
    for (int k = 0; k < 9; ++k) {
      const int from_y = 2 * y - 1 + k / 3, from_x = 2 * x - 1 + k % 3;
      if (from_y < 0 || from_x < 0) continue;  // sides are even: none lies beyond the other border
      const auto from =
          load_lanes<V>(task.x + ((image * task.height + from_y) * task.width + from_x) * task.channels + column);
      for (int v = 0; v < V; ++v) sums[v] += to_float(from.at[v]);
    }
    Lanes<Bf16, V> out;
    for (int v = 0; v < V; ++v) out.at[v] = from_float<Bf16>(sums[v] / 9);
    store_lanes<V>(out, task.y + pixel * task.y_pitch + task.first + column);
  }
};

template <int V>
struct PoolBackward {
  static constexpr int kThreads = kPoolThreads, kBlocksAtOnce = 4;
  PoolTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    const int columns = task.channels / V, out_width = task.width / 2, out_height = task.height / 2;
    const std::int64_t at = static_cast<std::int64_t>(block.x()) * kPoolThreads + block.thread();
    if (at >= task.pixels() * columns) return;
    const std::int64_t pixel = at / columns;
    const int column = static_cast<int>(at % columns) * V, x = static_cast<int>(pixel % task.width);
    const int y = static_cast<int>(pixel / task.width % task.height);
    const std::int64_t image = pixel / task.width / task.height;
    float sums[V] = {};
    // An even pixel was averaged once, an odd one by its two neighbours.
    for (int i = y / 2; i <= (y + 1) / 2; ++i)
      for (int j = x / 2; j <= (x + 1) / 2; ++j) {
        if (i >= out_height || j >= out_width) continue;
        const auto from =
            load_lanes<V>(task.grad + ((image * out_height + i) * out_width + j) * task.y_pitch + task.first + column);
        for (int v = 0; v < V; ++v) sums[v] += to_float(from.at[v]);
      }
    Lanes<Bf16, V> out;
    for (int v = 0; v < V; ++v) out.at[v] = from_float<Bf16>(sums[v] / 9);
    store_lanes<V>(out, task.grad_x + at / columns * task.channels + column);
  }
};

template <class Run>
auto run_fused(const PoolTask& task, const Run& run) {
  const bool backward = task.grad != nullptr;
  const std::int64_t work = (backward ? task.pixels() : task.pixels() / 4) * (task.channels / task.vector);
  const LaunchShape shape{static_cast<int>((work + kPoolThreads - 1) / kPoolThreads), 1, 1, kPoolThreads, 0};
  return backward ? run_vectors<PoolBackward>(task.vector, task, shape, run)
                  : run_vectors<PoolForward>(task.vector, task, shape, run);
}

}  // namespace ekd
