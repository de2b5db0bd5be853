#include "ekd/nn/fused_pass.h"

#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "ekd/core/device.h"
#include "ekd/kernels/fused.h"
#include "ekd/nn/scope.h"

namespace ekd {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// What one pass adds up, in fixed point, in one zeroed tensor: gradients by the parameters (at the parameters' own
// offsets), and for each normalisation moments and slopes.
struct FusedPass::Arena : torch::CustomClassHolder {
  Arena(const NetworkState& state, at::Tensor parameters, bool training)
      : flat(std::move(parameters)), beside(flat.device()) {
    rounded = fused_rounded(flat);
    if (!training) return;
    const std::int64_t rows = fused_moment_rows() + fused_slope_rows();
    std::int64_t channels = 0;
    for (const auto& [name, tensor] : state.parameters)
      channels += tensor.size(0);  // of every layer's result, at least
    const at::Tensor all = at::zeros({flat.numel() + 1 + channels * rows}, flat.options().dtype(at::kLong));
    sums = all.narrow(0, 0, flat.numel());
    bad = all.narrow(0, flat.numel(), 1);
    totals = all.narrow(0, flat.numel() + 1, channels * rows);
  }

  at::Tensor new_totals(std::int64_t rows, std::int64_t channels) {
    const std::int64_t begin = std::exchange(used, used + rows * channels);
    if (used > totals.numel()) return at::zeros({rows, channels}, totals.options());
    return totals.narrow(0, begin, rows * channels).view({rows, channels});
  }

  at::Tensor rounded_weight(const at::Tensor& weight) const {
    return rounded.as_strided(weight.sizes(), weight.strides(), weight.storage_offset());
  }
  at::Tensor sums_of(const at::Tensor& weight) {
    with_gradient.insert(weight.storage_offset());
    return sums.narrow(0, weight.storage_offset(), weight.numel());
  }

  at::Tensor flat, rounded;
  at::Tensor sums, bad, totals;
  SideStream beside;  // gradients by weights, for which nobody waits before the pass ends
  std::int64_t used = 0;
  std::set<std::int64_t> with_gradient;              // offsets of parameters whose gradients the arena makes
  std::vector<c10::intrusive_ptr<FusedLink>> norms;  // in the order of the pass
};

namespace {

at::Tensor image_gradient(const at::Tensor& grad) {
  return grad.to(at::kBFloat16).contiguous(at::MemoryFormat::ChannelsLast);
}

template <class T>
at::IValue capsule(c10::intrusive_ptr<T> pointer) {
  return at::IValue::make_capsule(std::move(pointer));
}
template <class T>
T& capsule_of(AutogradContext* context, const char* name) {
  return static_cast<T&>(*context->saved_data.at(name).toCapsule());
}

}  // namespace

// The end of a block, max(norm(z) + residual, 0). The convolution that reads it first may make its values, and, since
// others read what that one hands on, apply its ReLU's mask to the gradient and take the norm's slopes; else it does so
// itself.
struct FusedPass::Joint : torch::CustomClassHolder {
  explicit Joint(c10::intrusive_ptr<FusedLink> of) : link(std::move(of)) {}
  c10::intrusive_ptr<FusedLink> link;
  bool reader_joins = false;  // its values are not there before the reader has made them
  bool reader_masks = false;
};

namespace {

// What an operation and its backward know of each other.
struct FusedStep : torch::CustomClassHolder {
  c10::intrusive_ptr<FusedLink> before, after;  // of what it reads (null: plain), and of its result
  FusedConv conv;
  std::int64_t shuffle = 1;
  at::Tensor sums, bad;  // of the weight's gradient
  SideStream* beside = nullptr;
  c10::intrusive_ptr<torch::CustomClassHolder> owner;  // of `beside`
  bool depthwise = false;
  c10::intrusive_ptr<FusedLink> joined;  // of the join whose result it reads, where it masks that one's gradient
  FusedInput joining;                    // forward: the join that it makes on the way, or nothing

  FusedInput reading(const at::Tensor& x) const { return {x, {}, before ? &before->norm : nullptr}; }
  // The gradient by the result, as it came from the result's readers.
  FusedInput result_gradient(const at::Tensor& grad, const at::Tensor& result) const {
    if (after && after->bound) return {grad, result, &after->norm};
    return {grad, {}, nullptr};
  }
};
using StepPointer = c10::intrusive_ptr<FusedStep>;

// The result and, where `passes` says so, the input handed on: another reader's gradient, which comes back that way, is
// added by the kernel that makes the convolution's own.
struct FusedConvFunction : torch::autograd::Function<FusedConvFunction> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& /*anchor*/,
                               const std::optional<at::Tensor>& added, const std::optional<at::Tensor>& joined_z,
                               const StepPointer& step, bool passes) {
    const at::Tensor moments = step->after ? step->after->norm.moments : at::Tensor();
    const FusedInput read = step->joining.joined.defined() ? std::exchange(step->joining, {}) : step->reading(x);
    const at::Tensor y = step->depthwise ? fused_depthwise(read, step->shuffle, step->conv, moments)
                                         : fused_conv(read, step->conv, added.value_or(at::Tensor()), moments);
    context->set_materialize_grads(false);
    context->save_for_backward({x, y, joined_z.value_or(at::Tensor())});
    context->saved_data["step"] = capsule(step);
    context->saved_data["adds"] = added.has_value();
    return passes ? variable_list{y, x.detach()} : variable_list{y};
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    TORCH_CHECK(grads[0].defined(), "nobody read a convolution's result");
    const at::Tensor &x = saved[0], grad = image_gradient(grads[0]);
    const FusedStep& step = capsule_of<FusedStep>(context, "step");
    FusedRest rest{.z = saved[2], .norm = step.joined ? &step.joined->norm : nullptr};
    if (grads.size() > 1 && grads[1].defined()) rest.added = image_gradient(grads[1]);
    const FusedInput result = step.result_gradient(grad, saved[1]), read = step.reading(x);
    at::Tensor grad_x;
    if (step.depthwise) {
      grad_x = fused_depthwise_gradients(result, read, step.shuffle, step.conv, step.sums, step.bad);
    } else {
      grad_x = fused_conv_gradients(result, read, step.conv, step.sums, step.bad, context->needs_input_grad(0), rest,
                                    *step.beside);
    }
    return {grad_x,       at::Tensor(), context->saved_data["adds"].toBool() ? grad : at::Tensor(),
            at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

// Between a tensor that others read too and its readers: the normalisation's, whose gradient it completes, and one
// other, whose gradient it adds in the same pass.
struct FusedForkFunction : torch::autograd::Function<FusedForkFunction> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& /*anchor*/,
                               const c10::intrusive_ptr<FusedLink>& link) {
    context->set_materialize_grads(false);
    context->save_for_backward({x});
    context->saved_data["link"] = capsule(link);
    return {x.detach(), x.detach()};
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const FusedLink& link = capsule_of<FusedLink>(context, "link");
    const at::Tensor added = grads[1].defined() ? image_gradient(grads[1]) : at::Tensor();
    const at::Tensor x = context->get_saved_variables()[0];
    const at::Tensor grad =
        grads[0].defined() ? fused_norm_gradient({image_gradient(grads[0]), x, &link.norm}, added) : added;
    return {grad, at::Tensor(), at::Tensor()};
  }
};

// max(norm(z) + residual, 0), and the pooled shortcut's channels behind it.
template <class Joint>
struct FusedJoinFunction : torch::autograd::Function<FusedJoinFunction<Joint>> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& z, const at::Tensor& /*anchor*/,
                            const std::optional<at::Tensor>& residual, const std::optional<at::Tensor>& shortcut,
                            const c10::intrusive_ptr<Joint>& joint) {
    const std::int64_t channels = z.size(1) + (shortcut ? shortcut->size(1) : 0);
    const at::Tensor y =
        at::empty({z.size(0), channels, z.size(2), z.size(3)}, z.options(), at::MemoryFormat::ChannelsLast);
    if (!joint->reader_joins) fused_join({z, {}, &joint->link->norm}, residual.value_or(at::Tensor()), y);
    if (shortcut) {
      fused_pool(*shortcut, y);
      context->saved_data["shortcut"] = shortcut->sizes().vec();
    }
    context->save_for_backward({z, y});
    context->saved_data["joint"] = capsule(joint);
    context->saved_data["adds"] = residual.has_value();
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor grad = image_gradient(grads[0]);
    const auto& joint = capsule_of<Joint>(context, "joint");
    const at::Tensor masked =
        joint.reader_masks ? grad : fused_join_gradient(grad, saved[1], {saved[0], {}, &joint.link->norm});
    at::Tensor pooled;
    if (context->saved_data.count("shortcut") != 0)
      pooled = fused_pool_gradient(grad, context->saved_data["shortcut"].toIntVector());
    return {masked, at::Tensor(), context->saved_data["adds"].toBool() ? masked : at::Tensor(), pooled, at::Tensor()};
  }
};

at::Tensor gradient_view(const at::Tensor& gradients, const at::Tensor& parameter) {
  return gradients.as_strided(parameter.sizes(), parameter.strides(), parameter.storage_offset());
}

// The first node of a pass, whose backward comes when that of all others has been: it hands out the gradients that the
// pass has added up. Its result means nothing.
template <class Arena>
struct FusedParameters : torch::autograd::Function<FusedParameters<Arena>> {
  static at::Tensor forward(AutogradContext* context, const at::TensorList& parameters,
                            const c10::intrusive_ptr<Arena>& arena) {
    context->set_materialize_grads(false);
    context->saved_data["arena"] = capsule(arena);
    context->save_for_backward(parameters.vec());
    return at::empty({1}, arena->flat.options());
  }

  static variable_list backward(AutogradContext* context, const variable_list& /*grads*/) {
    Arena& arena = capsule_of<Arena>(context, "arena");
    arena.beside.join();
    const at::Tensor gradients = fused_gradients(arena.sums, arena.bad);
    std::vector<FusedNormGradient> norms;
    for (const auto& link : arena.norms)
      norms.push_back({link->norm, link->norm.weight.storage_offset(), link->norm.bias.storage_offset()});
    fused_norm_parameter_gradients(norms, gradients);
    variable_list result;
    for (const auto& parameter : context->get_saved_variables())
      result.push_back(arena.with_gradient.contains(parameter.storage_offset()) ? gradient_view(gradients, parameter)
                                                                                : at::Tensor());
    result.emplace_back();
    return result;
  }
};

bool autocasts_to_bf16(at::DeviceType type) {
  return at::autocast::is_autocast_enabled(type) && at::autocast::get_autocast_dtype(type) == at::kBFloat16;
}

// Whether the kernels are the faster way. Measured (docs/performance.md): they are for 1×1 and depthwise convolutions,
// and for dense 3×3 ones that have kernels of their own size; at others cuDNN is ahead. A rule, not a measurement at
// the start: the same bits at every start.
bool pays(const NetworkState& state, c10::Device device) {
  int dense = 0, own = 0;
  for (const auto& [name, parameter] : state.parameters) {
    if (parameter.dim() != 4 || parameter.size(2) == 1 || parameter.size(1) == 1) continue;
    ++dense;
    if (fused_conv_is_fast(parameter.size(1), parameter.size(0), device)) ++own;
  }
  return 4 * own >= 3 * dense;
}

std::optional<at::Tensor> where_defined(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional(tensor) : std::nullopt;
}

}  // namespace

Activation with_pass(at::Tensor tensor, std::shared_ptr<FusedPass> pass) {
  Activation x(std::move(tensor));
  x.pass_ = std::move(pass);
  return x;
}

const std::shared_ptr<FusedPass>& pass_of(const Activation& x) { return x.pass_; }

at::Tensor Activation::tensor() const& {
  if (pending_) return pass_->materialised(*this);
  return pass_ ? pass_->read(values_) : values_;
}
at::Tensor Activation::tensor() && {
  if (pending_) return pass_->materialised(*this);
  return pass_ ? pass_->read(values_) : std::move(values_);
}

FusedPass::FusedPass() = default;
FusedPass::~FusedPass() = default;

std::shared_ptr<FusedPass> FusedPass::begin(const NetworkState& state, const at::Tensor& flat, bool training) {
  const bool takes = flat.defined() && fused_kernels() && has_fused_kernels(flat.device()) &&
                     autocasts_to_bf16(flat.device().type()) && training == at::GradMode::is_enabled() &&
                     (flat.is_cpu() || pays(state, flat.device()));
  if (!takes) return nullptr;
  auto pass = std::make_shared<FusedPass>();
  pass->training_ = training;
  pass->arena_ = c10::make_intrusive<Arena>(state, flat.detach(), training);
  if (training) {
    std::vector<at::Tensor> parameters;
    for (const auto& [name, tensor] : state.parameters) parameters.push_back(tensor);
    const at::TensorList list(parameters);
    pass->anchor_ = FusedParameters<Arena>::apply(list, pass->arena_);
  } else {
    pass->anchor_ = flat;
  }
  return pass;
}

void FusedPass::end() {
  if (!training_ || arena_->norms.empty()) return;
  const at::NoGradGuard no_grad;
  std::vector<FusedNorm> norms;
  for (const auto& link : arena_->norms) norms.push_back(link->norm);
  fused_move_running(norms, momentum_);
}

bool FusedPass::takes(const Activation& x, const at::Tensor& weight, const Shape& shape) {
  if (x.pass_ == nullptr || (shape.stride != 1 && shape.stride != 2)) return false;
  const std::int64_t channels = x.values_.size(1), kernel = weight.size(2);
  if (kernel == 3 && shape.groups == channels && weight.size(0) == channels && channels > 1)
    return fused_depthwise_takes(x.values_, shape.stride);
  // The gradient of a strided convolution is made for even sides.
  return x.shuffle_ == 1 && fused_conv_takes(channels, weight.size(0), kernel, shape.groups, x.values_.device()) &&
         (channels / shape.groups % 2 == 0 || !x.values_.requires_grad()) &&
         (shape.stride == 1 || (x.values_.size(2) % 2 == 0 && x.values_.size(3) % 2 == 0));
}

Activation FusedPass::convolution(const Activation& x, const at::Tensor& weight, const Shape& shape,
                                  const at::Tensor& added) {
  const bool depthwise =
      weight.size(1) == 1 && weight.size(2) == 3 && shape.groups > 1 && weight.size(0) == shape.groups;
  if (depthwise && added.defined())
    return with_pass(convolution(x, weight, shape).values_.add(added), shared_from_this());
  const at::Tensor values = x.pending_ ? x.values_ : handed_on(x.values_), addend = handed_on(added);
  const auto step = c10::make_intrusive<FusedStep>();
  if (x.pending_) step->before = x.link_;
  step->conv = {arena_->rounded_weight(weight), shape.stride, shape.groups};
  step->shuffle = x.shuffle_;
  step->depthwise = depthwise;
  if (training_) {
    step->after = make_link(weight.size(0));
    step->sums = arena_->sums_of(weight);
    step->bad = arena_->bad;
    step->beside = &arena_->beside;
    step->owner = arena_;
  }
  const bool passes = training_ && !depthwise && !x.pending_ && values.requires_grad();
  at::Tensor joined_z;
  if (const auto found = joints_.find(x.values_.unsafeGetTensorImpl()); found != joints_.end() && !depthwise) {
    auto& [joined, z, residual, joint] = found->second;
    if (joint->reader_joins && fused_conv_joins(step->conv)) {
      step->joining = {z, residual, &joint->link->norm, joined};
      joint->reader_joins = false;
    }
    if (passes && fused_conv_masks_joined(values.device())) {
      step->joined = joint->link;
      joined_z = z.detach();
      joint->reader_masks = true;
    }
  }
  settle(x.values_);
  const variable_list results =
      FusedConvFunction::apply(values, anchor_, where_defined(addend), where_defined(joined_z), step, passes);
  if (passes) forks_.insert_or_assign(x.values_.unsafeGetTensorImpl(), Fork{x.values_, results[1]});
  Activation y = with_pass(results[0], shared_from_this());
  y.link_ = step->after;
  return y;
}

void FusedPass::settle(const at::Tensor& values) {
  const auto found = joints_.find(values.unsafeGetTensorImpl());
  if (found == joints_.end()) return;
  const auto& [joined, z, residual, joint] = found->second;
  if (joint->reader_joins) fused_join({z, {}, &joint->link->norm}, residual, joined);
  joints_.erase(found);
}

at::Tensor FusedPass::read(const at::Tensor& values) {
  settle(values);
  return handed_on(values);
}

at::Tensor FusedPass::handed_on(const at::Tensor& values) const {
  const auto fork = forks_.find(values.unsafeGetTensorImpl());
  return fork == forks_.end() ? values : fork->second.other;
}

c10::intrusive_ptr<FusedLink> FusedPass::make_link(std::int64_t channels) const {
  auto link = c10::make_intrusive<FusedLink>();
  link->norm.moments = arena_->new_totals(fused_moment_rows(), channels);
  return link;
}

Activation FusedPass::norm_relu(const Activation& x, const BnParameters& parameters, const BnRunning& running,
                                bool sole) {
  settle(x.values_);
  const bool alone = sole && x.values_.use_count() == 1;  // a handle elsewhere could be read too
  const bool maker_completes = training_ && alone && !x.pending_ && x.link_ && !x.link_->bound;
  Activation y = with_pass(x.pending_ ? materialised(x) : handed_on(x.values_), shared_from_this());
  y.pending_ = true;
  if (maker_completes) {
    y.link_ = x.link_;
  } else {
    y.link_ = c10::make_intrusive<FusedLink>();
    if (training_ && !x.pending_ && x.link_) y.link_->norm.moments = x.link_->norm.moments;
  }
  FusedNorm& norm = y.link_->norm;
  norm.weight = parameters.weight;
  norm.bias = parameters.bias;
  norm.running_mean = running.mean;
  norm.running_var = running.var;
  norm.eps = parameters.eps;
  norm.count = y.values_.numel() / y.values_.size(1);
  y.link_->bound = true;
  if (!training_) return y;
  const std::int64_t channels = y.values_.size(1);
  if (!norm.moments.defined()) {
    norm.moments = arena_->new_totals(fused_moment_rows(), channels);
    fused_moments(y.values_, norm.moments);
  }
  norm.slopes = arena_->new_totals(fused_slope_rows(), channels);
  momentum_ = running.momentum;
  arena_->norms.push_back(y.link_);
  arena_->with_gradient.insert({norm.weight.storage_offset(), norm.bias.storage_offset()});
  if (!maker_completes) {
    const variable_list readers = FusedForkFunction::apply(y.values_, anchor_, y.link_);
    y.values_ = readers[0];
    forks_.insert_or_assign(x.values_.unsafeGetTensorImpl(), Fork{x.values_, readers[1]});
  }
  return y;
}

at::Tensor FusedPass::norm_add_relu(const Activation& x, const at::Tensor& residual, const BnParameters& parameters,
                                    const BnRunning& running, bool sole) {
  const Activation normalised = norm_relu(x, parameters, running, sole);
  const auto joint = c10::make_intrusive<Joint>(normalised.link_);
  joint->reader_joins = fused_conv_masks_joined(residual.device());
  at::Tensor y = join(normalised, residual, {}, joint);
  joints_.insert_or_assign(y.unsafeGetTensorImpl(), Joined{y, normalised.values_, residual, joint});
  return y;
}

at::Tensor FusedPass::join(const Activation& z, const at::Tensor& residual, const at::Tensor& shortcut,
                           const c10::intrusive_ptr<Joint>& joint) const {
  return FusedJoinFunction<Joint>::apply(z.values_, anchor_, where_defined(handed_on(residual)),
                                         where_defined(handed_on(shortcut)), joint);
}

bool FusedPass::takes_pooling(const Activation& x, const at::Tensor& shortcut) {
  return x.pending_ && x.shuffle_ == 1 && shortcut.size(2) % 2 == 0 && shortcut.size(3) % 2 == 0;
}

Activation FusedPass::append_pooled(const Activation& x, const at::Tensor& shortcut) {
  return with_pass(join(x, {}, shortcut, c10::make_intrusive<Joint>(x.link_)), shared_from_this());
}

Activation FusedPass::shuffled(Activation x, std::int64_t groups) {
  x.shuffle_ = groups;
  return x;
}

at::Tensor FusedPass::materialised(const Activation& x) {
  const at::Tensor y = join(x, {}, {}, c10::make_intrusive<Joint>(x.link_));
  if (x.shuffle_ == 1) return y;
  return y.view({y.size(0), x.shuffle_, y.size(1) / x.shuffle_, y.size(2), y.size(3)})
      .transpose(1, 2)
      .reshape(y.sizes());
}

}  // namespace ekd
