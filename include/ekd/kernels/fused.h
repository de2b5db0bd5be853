// The fused kernels on tensors: bfloat16 [N, C, H, W], channels_last, on a device that has_fused_kernels. Convolutions
// are 1×1 or 3×3 with stride 1 or 2, padded by kernel / 2; weights bfloat16 [out, C / groups, k, k], channels_last.
// Sums (moments, slopes, gradients by weights) are int64 in fixed point, kernels/fused/totals.h, and are added to what
// is there.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace ekd {

// Whether `device` has the kernels: a CUDA device that computes in bfloat16, in a build with CUDA, or a CPU with
// AMX (core/device.h, cpu_has_tiles).
bool has_fused_kernels(c10::Device device);

class SideStream;

// Rows of sums that belong to a norm: of its input's moments, and of its slopes.
std::int64_t fused_moment_rows();
std::int64_t fused_slope_rows();

struct FusedNorm {
  at::Tensor weight, bias, running_mean, running_var;  // float32 [C]
  double eps = 0;
  at::Tensor moments;      // [fused_moment_rows, C] of its input; undefined: the running statistics count
  std::int64_t count = 1;  // numbers of a channel that the moments are of
  at::Tensor slopes;       // [fused_slope_rows, C]; undefined where there is no backward
};

// What an operation reads. x alone: x as it is. x and norm: max(norm(x), 0). x, z and norm: the gradient by z, norm's
// input, where x is the gradient by norm's result with ReLU's mask applied. With `joined`, a tensor like x that
// fused_conv_joins: max(norm(x) + z, 0), which is written there as well.
struct FusedInput {
  at::Tensor x, z;
  const FusedNorm* norm = nullptr;
  at::Tensor joined;
};

struct FusedConv {
  at::Tensor weight;
  std::int64_t stride = 1, groups = 1;
};

// Whether conv and its gradients take this many channels on a device that has the kernels.
bool fused_conv_takes(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t groups, c10::Device device);

// Whether dense 3×3 convolutions have kernels made for these channels, at the image sizes of networks for CIFAR.
bool fused_conv_is_fast(std::int64_t in, std::int64_t out, c10::Device device);

// The convolution + added, where that is defined; takes the result's moments where they are defined.
at::Tensor fused_conv(const FusedInput& input, const FusedConv& conv, const at::Tensor& added,
                      const at::Tensor& moments);

// What is done to the gradient by an input that was read as it is.
struct FusedRest {
  at::Tensor added;  // of other readers, or undefined
  // Where the input is max(norm(z) + a residual, 0): that ReLU's mask is applied to the sum, and the norm's slopes are
  // added up. Where fused_conv_masks_joined.
  at::Tensor z;
  const FusedNorm* norm = nullptr;
};

// Whether a convolution on the device does what belongs to the end of the block before it: any one the mask of its
// gradient; this one the end itself.
bool fused_conv_masks_joined(c10::Device device);
bool fused_conv_joins(const FusedConv& conv);

// The gradient by the convolution's input, which has these sizes. Where the convolution read max(norm(z), 0), this
// ReLU's mask is applied and the norm's slopes are added up; else `rest` is done.
at::Tensor fused_conv_input_gradient(const FusedInput& grad, const FusedConv& conv, at::IntArrayRef sizes,
                                     const FusedInput& read, const FusedRest& rest = {});

void fused_conv_weight_gradient(const FusedInput& grad, const FusedInput& read, const FusedConv& conv,
                                const at::Tensor& sums, const at::Tensor& bad);

// Both; the one by the input, undefined unless it is wanted. On a GPU the one by the weight is made beside it.
at::Tensor fused_conv_gradients(const FusedInput& grad, const FusedInput& read, const FusedConv& conv,
                                const at::Tensor& sums, const at::Tensor& bad, bool wants_input, const FusedRest& rest,
                                SideStream& beside);

// Depthwise 3×3; `shuffle` groups of channels are shuffled before.
bool fused_depthwise_takes(const at::Tensor& x, std::int64_t stride);
at::Tensor fused_depthwise(const FusedInput& input, std::int64_t shuffle, const FusedConv& conv,
                           const at::Tensor& moments);
// By the input, as for convolutions, and by the weight.
at::Tensor fused_depthwise_gradients(const FusedInput& grad, const FusedInput& read, std::int64_t shuffle,
                                     const FusedConv& conv, const at::Tensor& sums, const at::Tensor& bad);

// max(norm(z.x) + residual, 0), into the first channels of `y`, an empty tensor of at least z's channels.
void fused_join(const FusedInput& z, const at::Tensor& residual, const at::Tensor& y);
// The gradient behind the mask of that ReLU, by the channels that fused_join wrote; takes the norm's slopes.
at::Tensor fused_join_gradient(const at::Tensor& grad, const at::Tensor& y, const FusedInput& z);

// Average pooling 3×3, stride 2, padded by 1, of x (even sides) into the last channels of y; and back.
void fused_pool(const at::Tensor& x, const at::Tensor& y);
at::Tensor fused_pool_gradient(const at::Tensor& grad, at::IntArrayRef sizes);

void fused_moments(const at::Tensor& x, const at::Tensor& moments);
// The gradient by grad.z, plus `added` where that is defined.
at::Tensor fused_norm_gradient(const FusedInput& grad, const at::Tensor& added = {});

// bfloat16 of a float32 buffer.
at::Tensor fused_rounded(const at::Tensor& values);
// float32 of sums, all NaN where bad is not 0.
at::Tensor fused_gradients(const at::Tensor& sums, const at::Tensor& bad);

// Norms of a pass: moves their running statistics; writes gradients by weight and bias at their offsets in `gradients`.
void fused_move_running(const std::vector<FusedNorm>& norms, double momentum);
struct FusedNormGradient {
  FusedNorm norm;
  std::int64_t weight_offset, bias_offset;
};
void fused_norm_parameter_gradients(const std::vector<FusedNormGradient>& norms, const at::Tensor& gradients);

// One step of stochastic gradient descent, train/optimizer.h, on float32 buffers of the same size; momenta undefined
// where momentum is 0; rate 0-dim float32 on the device.
struct FusedSgd {
  double momentum = 0, weight_decay = 0;
  bool nesterov = false;
};
void fused_sgd(const at::Tensor& parameters, const at::Tensor& gradients, const at::Tensor& momenta,
               const at::Tensor& rate, const FusedSgd& sgd);

// sums [terms] float64 += terms · samples; first_bad [terms] int64 becomes `step` where it is -1 and the term no finite
// number. Takes few terms: fused_terms_take.
bool fused_terms_take(const std::vector<at::Tensor>& terms);
void fused_add_terms(const std::vector<at::Tensor>& terms, double samples, const at::Tensor& step,
                     const at::Tensor& sums, const at::Tensor& first_bad);

// Work beside the current stream of a CUDA device, for kernels that leave much of it idle and nobody waits for. On a
// CPU it is done at once.
class SideStream {
 public:
  explicit SideStream(c10::Device device);
  ~SideStream();
  SideStream(const SideStream&) = delete;
  SideStream& operator=(const SideStream&) = delete;

  // Does `work`, which allocates nothing, after all that the current stream was given. It reads `tensors`, whose memory
  // is kept until the streams are joined.
  void run(const std::vector<at::Tensor>& tensors, const std::function<void()>& work);

  // The current stream goes on after the side's work.
  void join();

 private:
  struct Cuda;
  std::unique_ptr<Cuda> cuda_;  // null on a CPU
  std::vector<at::Tensor> held_;
};

}  // namespace ekd
