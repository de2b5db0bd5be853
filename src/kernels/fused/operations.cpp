// From tensors to the fused kernels' tasks.
#include "ekd/kernels/fused.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "kernels/conv/depthwise_loops.h"
#include "kernels/fused/cpu.h"
#include "kernels/fused/launch.h"

namespace ekd {
namespace {

template <class T>
T* data_of(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<T*>(const_cast<void*>(tensor.const_data_ptr())) : nullptr;
}

void check_image(const at::Tensor& x) {
  TORCH_CHECK(x.scalar_type() == at::kBFloat16 && x.dim() == 4 && x.is_contiguous(at::MemoryFormat::ChannelsLast),
              "a fused kernel takes bfloat16 images in channels_last");
  TORCH_CHECK(x.numel() / x.size(1) <= std::numeric_limits<int>::max(), "a fused kernel counts pixels in 31 bits");
}

Norm norm_of(const FusedNorm& norm) {
  return {static_cast<int>(norm.weight.numel()), data_of<Fixed>(norm.moments), data_of<Fixed>(norm.slopes),
          data_of<float>(norm.weight),           data_of<float>(norm.bias),    data_of<float>(norm.running_mean),
          data_of<float>(norm.running_var),      static_cast<float>(norm.eps), 1 / static_cast<float>(norm.count)};
}

Operand operand_of(const FusedInput& input) {
  check_image(input.x);
  Operand operand{};
  operand.x = data_of<Bf16>(input.x);
  operand.z = data_of<Bf16>(input.z);
  if (input.norm != nullptr) operand.norm = norm_of(*input.norm);
  operand.channels = static_cast<int>(input.x.size(1));
  operand.joined = data_of<Bf16>(input.joined);
  return operand;
}

int integer(std::int64_t value) { return static_cast<int>(value); }

// Shared memory that a block may have on every GPU that computes in bfloat16.
constexpr std::size_t kMostSharedBytes = 99 << 10;

// The largest exponent of 2 that gives no more than value.
int floor_bits(std::int64_t value) {
  int bits = 0;
  while (std::int64_t{2} << bits <= value) ++bits;
  return bits;
}

// Tiles of `pixels` pixels, a power of two, over results [N, H, W]; those of a 1×1 convolution that keeps the size see
// nothing around them, so all pixels lie in one row.
PixelTiles tiles_over(std::int64_t images, std::int64_t height, std::int64_t width, int pixels, bool flat) {
  constexpr int kMostWidthBits = 4;
  const int bits = floor_bits(pixels);
  if (flat) return {1, 1, integer(images * height * width), 0, 0, bits, Divisor(), Divisor()};
  PixelTiles tiles{integer(images), integer(height), integer(width), 0, 0, 0, Divisor(), Divisor()};
  tiles.width_bits = std::min(floor_bits(width), kMostWidthBits);
  tiles.height_bits = std::min(floor_bits(height), bits - tiles.width_bits);
  tiles.image_bits = bits - tiles.width_bits - tiles.height_bits;
  tiles.across_divisor = Divisor(tiles.across());
  tiles.down_divisor = Divisor(tiles.down());
  return tiles;
}

ConvWindow window_over(const at::Tensor& input, const FusedConv& conv, std::int64_t stride, bool spread,
                       const PixelTiles& tiles, bool flat) {
  const int kernel = integer(conv.weight.size(2));
  ConvWindow window{
      integer(input.size(2)), integer(input.size(3)), kernel, integer(stride), spread ? 1 : 0, Divisor(), Divisor()};
  if (flat) window = {1, integer(input.size(0) * input.size(2) * input.size(3)), kernel, 1, 0, Divisor(), Divisor()};
  window.tile_width = Divisor(window.needed_width(tiles));
  window.tile_height = Divisor(window.needed_height(tiles));
  return window;
}

bool is_flat(const FusedConv& conv) { return conv.weight.size(2) == 1 && conv.stride == 1; }

std::int64_t strided(std::int64_t size, std::int64_t stride) { return (size - 1) / stride + 1; }

// Cuts a group's output channels into `parts` for as many blocks.
void cut_outputs(ConvTask& task, int parts) {
  const int outs = task.out / parts;
  task.n_tile = padded16(outs);
  task.in_vector = vector_of(task.in);
  task.out_vector = vector_of(outs);
  task.weight_vector = task.turned ? task.out_vector : task.in_vector;
  task.in_vectors = Divisor(task.in / task.in_vector);
  task.out_vectors = Divisor(outs / task.out_vector);
  task.weight_vectors = task.turned ? task.out_vectors : task.in_vectors;
  task.stages = task.taps();
  if (task.shared_bytes() > kMostSharedBytes && task.taps() > 1) task.stages = kConvStages;
}

void choose_conv_tiles(ConvTask& task) {
  constexpr int kMostColumns = 80, kMostColumnsOf3 = 64, kFewBlocks = 256;
  const int most = task.window.kernel == 1 ? kMostColumns : kMostColumnsOf3;
  // As many parts as make them narrow enough, and equal ones of whole pairs.
  int parts = (task.out + most - 1) / most;
  while (task.out % (2 * parts) != 0) ++parts;
  // Small images: rather narrower blocks than idle processors.
  const bool few = task.tiles.count() * parts * task.groups < kFewBlocks;
  if (task.window.kernel == 3 && task.out % (parts * 32) == 0 && few) parts *= 2;
  cut_outputs(task, parts);
  while (task.shared_bytes() > kMostSharedBytes && task.out % (4 * parts) == 0) cut_outputs(task, parts *= 2);
}

void check_weight(const FusedConv& conv) {
  TORCH_CHECK(conv.weight.scalar_type() == at::kBFloat16 && conv.weight.is_contiguous(at::MemoryFormat::ChannelsLast),
              "a fused convolution takes a bfloat16 weight in channels_last");
}

constexpr int kSmallTile = kConvRowWarps * 16, kLargeTile = 2 * kSmallTile;

// Small ones for 1×1 convolutions, which otherwise would leave processors idle, unless there are many of them.
int tile_pixels(const FusedConv& conv, std::int64_t pixels) {
  constexpr std::int64_t kManyPixels = 1 << 15, kMostOutsOfLarge = 64;
  const bool small =
      conv.weight.size(2) == 1 &&
      (pixels <= kManyPixels || std::max(conv.weight.size(0), conv.weight.size(1)) / conv.groups > kMostOutsOfLarge);
  return small ? kSmallTile : kLargeTile;
}

BnReluGrid grid_over(const at::Tensor& x, std::int64_t pitch) {
  const int channels = integer(x.size(1));
  return bn_relu_grid(x.numel() / channels, channels, vector_of(channels | integer(pitch)));
}

JoinTask join_task(Join kind, const FusedInput& z, std::int64_t pitch) {
  JoinTask task{};
  task.kind = kind;
  task.grid = grid_over(z.x, pitch);
  task.z = operand_of(z);
  task.y_pitch = integer(pitch);
  return task;
}

PoolTask pool_task(at::IntArrayRef sizes, std::int64_t pitch) {
  PoolTask task{};
  task.images = integer(sizes[0]);
  task.channels = integer(sizes[1]);
  task.height = integer(sizes[2]);
  task.width = integer(sizes[3]);
  task.y_pitch = integer(pitch);
  task.first = integer(pitch - sizes[1]);
  task.vector = vector_of(task.channels | task.y_pitch | task.first);
  return task;
}

DepthwiseTask depthwise_task(const FusedInput& input, std::int64_t shuffle, const FusedConv& conv) {
  TORCH_CHECK(fused_depthwise_takes(input.x, conv.stride), "fused_depthwise: x is not made for it");
  DepthwiseTask task{};
  task.images = integer(input.x.size(0));
  task.channels = integer(input.x.size(1));
  task.height = integer(input.x.size(2));
  task.width = integer(input.x.size(3));
  task.out_height = integer(strided(task.height, conv.stride));
  task.out_width = integer(strided(task.width, conv.stride));
  task.stride = integer(conv.stride);
  task.groups = integer(shuffle);
  task.input = operand_of(input);
  task.weight = data_of<Bf16>(conv.weight);
  return task;
}

// Whether a convolution has kernels of its own size (dense.h), that of results so wide.
bool is_dense(const FusedConv& conv, const at::Tensor& result) {
  return conv.weight.size(2) == 3 && conv.groups == 1 && result.size(2) == result.size(3) &&
         dense_takes(integer(conv.weight.size(1)), integer(conv.weight.size(0)), integer(result.size(3)),
                     integer(conv.stride)) &&
         result.numel() * conv.stride * conv.stride <= std::numeric_limits<int>::max() &&
         has_shared_bytes(result.device(), kDenseSharedBytes);
}

// A convolution from `input` to y; `turned`: the gradient by what it read.
ConvTask conv_task(const FusedInput& input, const FusedConv& conv, const at::Tensor& y, bool turned) {
  const bool flat = is_flat(conv);
  ConvTask task{};
  const std::int64_t pixels = y.size(0) * y.size(2) * y.size(3);
  task.tiles = tiles_over(y.size(0), y.size(2), y.size(3), tile_pixels(conv, pixels), flat);
  task.window =
      window_over(input.x, conv, turned ? 1 : conv.stride, /*spread=*/turned && conv.stride == 2, task.tiles, flat);
  task.groups = integer(conv.groups);
  task.in = integer(conv.weight.size(1));
  task.out = integer(conv.weight.size(0) / conv.groups);
  if (turned) std::swap(task.in, task.out);
  task.input = operand_of(input);
  task.weight = data_of<Bf16>(conv.weight);
  task.turned = turned;
  task.y = data_of<Bf16>(y);
  return task;
}

DenseTask dense_task(const FusedInput& input, const FusedConv& conv, const at::Tensor& y) {
  DenseTask task{};
  task.images = integer(y.size(0));
  task.in = integer(input.x.size(1));
  task.out = integer(y.size(1));
  task.width = integer(y.size(3));
  task.stride = integer(conv.stride);
  task.input = operand_of(input);
  task.weight = data_of<Bf16>(conv.weight);
  task.y = data_of<Bf16>(y);
  return task;
}

// What happens to the result of a convolution, or of its gradient.
template <class Task>
void set_sum_and_moments(Task& task, const at::Tensor& added, const at::Tensor& moments) {
  task.added = data_of<Bf16>(added);
  task.moments = data_of<Fixed>(moments);
}
template <class Task>
void set_mask_and_slopes(Task& task, const FusedInput& read) {
  task.z = data_of<Bf16>(read.x);
  task.norm = norm_of(*read.norm);
  task.slopes = data_of<Fixed>(read.norm->slopes);
}

// What all gradients by weights are told.
template <class Task>
Task weight_task(const FusedInput& grad, const FusedInput& read, const FusedConv& conv, const at::Tensor& sums,
                 const at::Tensor& bad) {
  Task task{};
  task.in = integer(conv.weight.size(1));
  task.out = integer(conv.weight.size(0) / conv.groups);
  task.grad = operand_of(grad);
  task.input = operand_of(read);
  task.sums = data_of<Fixed>(sums);
  task.bad = data_of<Fixed>(bad);
  return task;
}

at::Tensor empty_images(at::IntArrayRef sizes, const at::Tensor& like) {
  return at::empty(sizes, like.options().dtype(at::kBFloat16), at::MemoryFormat::ChannelsLast);
}

// Of a large GPU; each holds one block of a 3×3 convolution's gradient by weights, or two of a 1×1 one's.
constexpr int kProcessors = 132;

DenseWeightTask dense_weight_task(const FusedInput& grad, const FusedInput& read, const FusedConv& conv,
                                  const at::Tensor& sums, const at::Tensor& bad) {
  auto task = weight_task<DenseWeightTask>(grad, read, conv, sums, bad);
  task.images = integer(read.x.size(0));
  task.width = integer(read.x.size(3));
  const std::int64_t pixels = grad.x.size(0) * grad.x.size(2) * grad.x.size(3);
  const int blocks_of_part = std::max(task.in / kDenseOuts, 1) * (task.out / kDenseOuts);
  task.parts = std::clamp(integer(pixels / kDensePixels), 1, kProcessors / blocks_of_part);
  return task;
}

PointwiseWeightTask pointwise_weight_task(const FusedInput& grad, const FusedInput& read, const FusedConv& conv,
                                          const at::Tensor& sums, const at::Tensor& bad) {
  constexpr int kBlocks = 2 * kProcessors, kManyChannels = 240;
  auto task = weight_task<PointwiseWeightTask>(grad, read, conv, sums, bad);
  task.pixels = integer(grad.x.numel() / grad.x.size(1));
  task.groups = integer(conv.groups);
  task.cuts = pointwise_weight_cuts(task.in, task.out);
  task.tile = task.outs() + task.block_ins() < kManyChannels ? 128 : 64;
  task.parts = std::clamp(kBlocks / (task.groups * task.cuts), 1, (task.pixels + task.tile - 1) / task.tile);
  task.out_vectors = Divisor(task.outs() / vector_of(task.outs()));
  task.in_vectors = Divisor(task.block_ins() / vector_of(task.block_ins()));
  task.ins = Divisor(task.block_ins());
  return task;
}

ConvWeightTask conv_weight_task(const FusedInput& grad, const FusedInput& read, const FusedConv& conv,
                                const at::Tensor& sums, const at::Tensor& bad) {
  const bool flat = is_flat(conv);
  auto task = weight_task<ConvWeightTask>(grad, read, conv, sums, bad);
  task.tiles = tiles_over(grad.x.size(0), grad.x.size(2), grad.x.size(3), kLargeTile, flat);
  task.window = window_over(read.x, conv, conv.stride, /*spread=*/false, task.tiles, flat);
  task.groups = integer(conv.groups);
  const int blocks_of_part = task.out_tiles() * task.in_tiles() * task.groups;
  const int blocks = task.window.kernel == 3 ? kProcessors : 2 * kProcessors;
  task.parts = std::clamp(blocks / blocks_of_part, 1, task.tiles.count());
  const auto vectors = [](Divisor(&to)[2], int channels, int tile, int vector) {
    to[0] = Divisor(tile / vector);
    if (channels % tile != 0) to[1] = Divisor(channels % tile / vector);
  };
  vectors(task.out_vectors, task.out, kWeightRows, vector_of(task.out));
  vectors(task.in_vectors, task.in, kWeightColumns, vector_of(task.in));
  vectors(task.ins, task.in, kWeightColumns, 1);
  return task;
}

// Of a convolution that reads images of these sizes.
CpuConv cpu_conv_of(const FusedConv& conv, at::IntArrayRef sizes) {
  return {.images = sizes[0],
          .height = sizes[2],
          .width = sizes[3],
          .out_height = strided(sizes[2], conv.stride),
          .out_width = strided(sizes[3], conv.stride),
          .groups = conv.groups,
          .in = conv.weight.size(1),
          .out = conv.weight.size(0) / conv.groups,
          .kernel = conv.weight.size(2),
          .stride = conv.stride,
          .weight = data_of<Bf16>(conv.weight)};
}

// sums and bad undefined, or grad_x: not wanted.
void cpu_gradients(const FusedInput& grad, const FusedInput& read, const FusedConv& conv, const at::Tensor& sums,
                   const at::Tensor& bad, const at::Tensor& grad_x, const at::Tensor& added) {
  CpuConvGradients task{};
  task.grad = operand_of(grad);
  task.read = operand_of(read);
  task.sums = data_of<Fixed>(sums);
  task.bad = data_of<Fixed>(bad);
  task.grad_x = data_of<Bf16>(grad_x);
  task.added = data_of<Bf16>(added);
  if (grad_x.defined() && read.norm != nullptr) task.slopes = data_of<Fixed>(read.norm->slopes);
  cpu_conv_gradients(cpu_conv_of(conv, read.x.sizes()), task);
}

// Tables of norms, as many as fit into one launch each.
template <class Norms, class MakeRow, class Launch>
void for_tables(const Norms& norms, const MakeRow& make_row, const Launch& launch) {
  for (std::size_t begin = 0; begin < norms.size(); begin += kMostNorms) {
    NormTable table{};
    for (std::size_t i = begin; i < norms.size() && table.count < kMostNorms; ++i)
      table.rows[table.count++] = make_row(norms[i]);
    launch(table);
  }
}

}  // namespace

std::int64_t fused_moment_rows() { return kMomentRows; }
std::int64_t fused_slope_rows() { return kSlopeRows; }

bool fused_conv_takes(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t groups, c10::Device device) {
  if (has_own_convolutions(device)) return kernel == 1 || kernel == 3;
  // Channels go in pairs, but for an input that needs no gradient; a tile's pixels have to fit into shared memory.
  const std::int64_t most = kernel == 1 ? 320 : 128;
  return (kernel == 1 || kernel == 3) && (in / groups % 2 == 0 || groups == 1) && out / groups % 2 == 0 &&
         in / groups <= most && out / groups <= most;
}

bool fused_conv_is_fast(std::int64_t in, std::int64_t out, c10::Device device) {
  const auto takes = [&](int width) { return dense_takes(integer(in), integer(out), width, /*stride=*/1); };
  return in == out && std::ranges::any_of(kDenseWidths, takes) && has_shared_bytes(device, kDenseSharedBytes);
}

at::Tensor fused_conv(const FusedInput& input, const FusedConv& conv, const at::Tensor& added,
                      const at::Tensor& moments) {
  check_weight(conv);
  const std::int64_t height = strided(input.x.size(2), conv.stride), width = strided(input.x.size(3), conv.stride);
  const at::Tensor y = empty_images({input.x.size(0), conv.weight.size(0), height, width}, input.x);
  if (added.defined()) check_image(added);
  TORCH_CHECK(!input.joined.defined() || fused_conv_joins(conv), "a convolution that does not end a block");
  if (has_own_convolutions(y.device())) {
    cpu_conv(cpu_conv_of(conv, input.x.sizes()), operand_of(input), data_of<Bf16>(added), data_of<Bf16>(y),
             data_of<Fixed>(moments));
  } else if (is_dense(conv, y)) {
    DenseTask task = dense_task(input, conv, y);
    set_sum_and_moments(task, added, moments);
    launch_fused(task, y.device());
  } else {
    ConvTask task = conv_task(input, conv, y, /*turned=*/false);
    set_sum_and_moments(task, added, moments);
    choose_conv_tiles(task);
    launch_fused(task, y.device());
  }
  return y;
}

bool fused_conv_masks_joined(c10::Device device) { return !has_own_convolutions(device); }

bool fused_conv_joins(const FusedConv& conv) { return is_flat(conv) && !has_own_convolutions(conv.weight.device()); }

void check_rest(const FusedRest& rest, const FusedInput& read) {
  if (rest.added.defined()) check_image(rest.added);
  TORCH_CHECK(read.norm == nullptr || (!rest.added.defined() && rest.norm == nullptr),
              "an input is read through a norm or as it is");
  TORCH_CHECK(rest.norm == nullptr || fused_conv_masks_joined(read.x.device()), "joins mask their gradients on a CPU");
}

at::Tensor fused_conv_input_gradient(const FusedInput& grad, const FusedConv& conv, at::IntArrayRef sizes,
                                     const FusedInput& read, const FusedRest& rest) {
  check_weight(conv);
  check_rest(rest, read);
  const at::Tensor y = empty_images(sizes, grad.x);
  if (has_own_convolutions(y.device())) {
    cpu_gradients(grad, read, conv, {}, {}, y, rest.added);
  } else if (read.norm != nullptr && is_dense(conv, grad.x)) {
    DenseTask task = dense_task(grad, conv, y);
    set_mask_and_slopes(task, read);
    launch_fused(task, y.device());
  } else {
    ConvTask task = conv_task(grad, conv, y, /*turned=*/true);
    if (read.norm != nullptr) set_mask_and_slopes(task, read);
    if (rest.norm != nullptr) {
      set_mask_and_slopes(task, {rest.z, {}, rest.norm});
      task.joined = data_of<Bf16>(read.x);
    }
    task.added = data_of<Bf16>(rest.added);
    choose_conv_tiles(task);
    launch_fused(task, y.device());
  }
  return y;
}

void fused_conv_weight_gradient(const FusedInput& grad, const FusedInput& read, const FusedConv& conv,
                                const at::Tensor& sums, const at::Tensor& bad) {
  const auto device = grad.x.device();
  if (has_own_convolutions(device)) return cpu_gradients(grad, read, conv, sums, bad, {}, {});
  const int in = integer(conv.weight.size(1)), out = integer(conv.weight.size(0) / conv.groups);
  if (conv.stride == 1 && (read.norm != nullptr || grad.norm == nullptr) && is_dense(conv, grad.x))
    launch_fused(dense_weight_task(grad, read, conv, sums, bad), device);
  else if (is_flat(conv) && pointwise_weight_cuts(in, out) != 0)
    launch_fused(pointwise_weight_task(grad, read, conv, sums, bad), device);
  else
    launch_fused(conv_weight_task(grad, read, conv, sums, bad), device);
}

at::Tensor fused_conv_gradients(const FusedInput& grad, const FusedInput& read, const FusedConv& conv,
                                const at::Tensor& sums, const at::Tensor& bad, bool wants_input, const FusedRest& rest,
                                SideStream& beside) {
  if (has_own_convolutions(grad.x.device())) {
    check_weight(conv);
    check_rest(rest, read);
    const at::Tensor grad_x = wants_input ? empty_images(read.x.sizes(), grad.x) : at::Tensor();
    cpu_gradients(grad, read, conv, sums, bad, grad_x, rest.added);
    return grad_x;
  }
  std::vector<at::Tensor> tensors{grad.x, read.x};
  if (grad.z.defined()) tensors.push_back(grad.z);
  beside.run(tensors, [&] { fused_conv_weight_gradient(grad, read, conv, sums, bad); });
  return wants_input ? fused_conv_input_gradient(grad, conv, read.x.sizes(), read, rest) : at::Tensor();
}

bool fused_depthwise_takes(const at::Tensor& x, std::int64_t stride) {
  if (has_own_convolutions(x.device()) && x.size(1) < kDepthwiseLeastChannels) return false;
  return stride == 1 || (stride == 2 && x.size(2) % 2 == 0 && x.size(3) % 2 == 0);
}

at::Tensor fused_depthwise(const FusedInput& input, std::int64_t shuffle, const FusedConv& conv,
                           const at::Tensor& moments) {
  DepthwiseTask task = depthwise_task(input, shuffle, conv);
  const at::Tensor y = empty_images({task.images, task.channels, task.out_height, task.out_width}, input.x);
  task.y = data_of<Bf16>(y);
  task.moments = data_of<Fixed>(moments);
  launch_fused(task, y.device());
  return y;
}

at::Tensor fused_depthwise_gradients(const FusedInput& grad, const FusedInput& read, std::int64_t shuffle,
                                     const FusedConv& conv, const at::Tensor& sums, const at::Tensor& bad) {
  DepthwiseTask task = depthwise_task(read, shuffle, conv);
  const at::Tensor grad_x = at::empty_like(read.x);
  task.grad = operand_of(grad);
  task.grad_x = data_of<Bf16>(grad_x);
  if (read.norm != nullptr) task.slopes = data_of<Fixed>(read.norm->slopes);
  task.weight_sums = data_of<Fixed>(sums);
  task.bad = data_of<Fixed>(bad);
  launch_fused(task, grad_x.device());
  return grad_x;
}

void fused_join(const FusedInput& z, const at::Tensor& residual, const at::Tensor& y) {
  JoinTask task = join_task(Join::kForward, z, y.size(1));
  if (residual.defined()) check_image(residual);
  task.residual = data_of<Bf16>(residual);
  task.y = data_of<Bf16>(y);
  launch_fused(task, y.device());
}

at::Tensor fused_join_gradient(const at::Tensor& grad, const at::Tensor& y, const FusedInput& z) {
  check_image(grad);
  const at::Tensor masked = at::empty_like(z.x);
  JoinTask task = join_task(Join::kBackward, z, y.size(1));
  task.grad = data_of<Bf16>(grad);
  task.y = data_of<Bf16>(y);
  task.masked = data_of<Bf16>(masked);
  task.totals = data_of<Fixed>(z.norm->slopes);
  launch_fused(task, y.device());
  return masked;
}

void fused_pool(const at::Tensor& x, const at::Tensor& y) {
  check_image(x);
  PoolTask task = pool_task(x.sizes(), y.size(1));
  task.x = data_of<Bf16>(x);
  task.y = data_of<Bf16>(y);
  launch_fused(task, y.device());
}

at::Tensor fused_pool_gradient(const at::Tensor& grad, at::IntArrayRef sizes) {
  check_image(grad);
  const at::Tensor grad_x = empty_images(sizes, grad);
  PoolTask task = pool_task(sizes, grad.size(1));
  task.grad = data_of<Bf16>(grad);
  task.grad_x = data_of<Bf16>(grad_x);
  launch_fused(task, grad.device());
  return grad_x;
}

void fused_moments(const at::Tensor& x, const at::Tensor& moments) {
  JoinTask task = join_task(Join::kMoments, {x, {}, nullptr}, x.size(1));
  task.totals = data_of<Fixed>(moments);
  launch_fused(task, x.device());
}

at::Tensor fused_norm_gradient(const FusedInput& grad, const at::Tensor& added) {
  const at::Tensor grad_z = at::empty_like(grad.z);
  JoinTask task = join_task(Join::kNormalisedGradient, grad, grad.z.size(1));
  if (added.defined()) check_image(added);
  task.residual = data_of<Bf16>(added);
  task.y = data_of<Bf16>(grad_z);
  launch_fused(task, grad_z.device());
  return grad_z;
}

at::Tensor fused_rounded(const at::Tensor& values) {
  const at::Tensor rounded = at::empty(values.sizes(), values.options().dtype(at::kBFloat16));
  launch_fused(RoundTask{data_of<float>(values), data_of<Bf16>(rounded), values.numel()}, values.device());
  return rounded;
}

at::Tensor fused_gradients(const at::Tensor& sums, const at::Tensor& bad) {
  const at::Tensor gradients = at::empty(sums.sizes(), sums.options().dtype(at::kFloat));
  launch_fused(GradientTask{data_of<Fixed>(sums), data_of<Fixed>(bad), data_of<float>(gradients), sums.numel()},
               sums.device());
  return gradients;
}

void fused_move_running(const std::vector<FusedNorm>& norms, double momentum) {
  for_tables(
      norms,
      [](const FusedNorm& norm) {
        const auto n = static_cast<double>(norm.count);
        return NormTable::Row{norm_of(norm),
                              data_of<float>(norm.running_mean),
                              data_of<float>(norm.running_var),
                              unbiased_variance(1, n),
                              nullptr,
                              nullptr};
      },
      [&](const NormTable& table) {
        launch_fused(RunningTask{table, momentum}, norms.front().weight.device());
      });
}

void fused_norm_parameter_gradients(const std::vector<FusedNormGradient>& norms, const at::Tensor& gradients) {
  auto* to = data_of<float>(gradients);
  for_tables(
      norms,
      [to](const FusedNormGradient& one) {
        return NormTable::Row{norm_of(one.norm), nullptr, nullptr, 1, to + one.weight_offset, to + one.bias_offset};
      },
      [&](const NormTable& table) { launch_fused(table, gradients.device()); });
}

void fused_sgd(const at::Tensor& parameters, const at::Tensor& gradients, const at::Tensor& momenta,
               const at::Tensor& rate, const FusedSgd& sgd) {
  launch_fused(
      SgdTask{data_of<float>(parameters), data_of<float>(momenta), data_of<float>(gradients), data_of<float>(rate),
              static_cast<float>(sgd.momentum), static_cast<float>(sgd.weight_decay), sgd.nesterov, parameters.numel()},
      parameters.device());
}

bool fused_terms_take(const std::vector<at::Tensor>& terms) {
  return terms.size() <= kMostTerms && std::ranges::all_of(terms, [](const at::Tensor& term) {
           return term.scalar_type() == at::kFloat && has_fused_kernels(term.device());
         });
}

void fused_add_terms(const std::vector<at::Tensor>& terms, double samples, const at::Tensor& step,
                     const at::Tensor& sums, const at::Tensor& first_bad) {
  TermsTask task{};
  for (const auto& term : terms) task.terms[task.count++] = data_of<float>(term);
  task.sums = data_of<double>(sums);
  task.first_bad = data_of<long long>(first_bad);
  task.step = data_of<long long>(step);
  task.samples = samples;
  launch_fused(task, sums.device());
}

}  // namespace ekd
