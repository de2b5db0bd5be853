// What a GPU is asked for by one training step, or by one pass without gradients: every kernel of the fused passes with
// its grid, its memory traffic and its products, and every operation of LibTorch's that is left, as one line of JSON.
// Nothing is computed: the tasks that a GPU would get are noted, with the shapes that they would be launched with.
// scripts/step_model.py makes times of them.
//
// usage: ekd_step_trace MODEL BATCH [--evaluate | --views N | --teachers N]
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <iostream>
#include <iterator>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "ekd/core/device.h"
#include "ekd/core/error.h"
#include "ekd/kernels/fused.h"
#include "ekd/models/registry.h"
#include "ekd/train/epoch_sums.h"
#include "ekd/train/objective.h"
#include "kernels/fused/launch.h"

namespace ekd {
namespace {

constexpr std::int64_t kClasses = 100, kSide = 32;  // CIFAR-100's
constexpr double kBf16Bytes = 2, kFloatBytes = 4, kFixedBytes = sizeof(Fixed);

struct Launch {
  std::string kind, name;  // name: an operation of LibTorch's, or "square", a layer with as many results as inputs
  bool beside = false;     // on the side stream
  bool waits = false;      // for what runs beside
  LaunchShape shape{};
  int at_once = 1;    // blocks that a processor holds at least, by what the kernel was compiled for
  double stages = 1;  // of a block, each of which waits for memory or for all threads of the one before
  double bytes = 0;   // of what is read and written, each tensor once
  double sums = 0;    // numbers that are added to totals by atomics
  double flop = 0;    // on tensor cores, with what fills up fragments

  double blocks() const { return static_cast<double>(shape.x) * shape.y * shape.z; }
};

// How many parts make the whole; the last may be smaller.
double parts_of(double whole, double part) { return std::ceil(whole / part); }

// Tensors that are read for an operand.
double tensors_of(const Operand& operand) { return 1 + (operand.z != nullptr) + (operand.joined != nullptr); }

double pixels_of(const PixelTiles& tiles) { return static_cast<double>(tiles.images) * tiles.height * tiles.width; }
double pixels_of(const PixelTiles& tiles, const ConvWindow& window) {
  return static_cast<double>(tiles.images) * window.height * window.width;
}

void describe(const ConvTask& task, Launch& launch) {
  const bool adds = task.z != nullptr || task.moments != nullptr;
  const int beside = (task.z != nullptr) + (task.joined != nullptr) + (task.added != nullptr);
  const double results = pixels_of(task.tiles) * task.out, inputs = pixels_of(task.tiles, task.window) * task.in;
  launch.kind = task.turned ? "input gradient" : "convolution";
  launch.bytes = kBf16Bytes * task.groups *
                 (inputs * tensors_of(task.input) + task.taps() * task.in * task.out + results * (1 + beside));
  launch.sums = adds ? 2 * launch.blocks() * task.outs() : 0;
  launch.flop = 2 * launch.blocks() * task.tiles.pixels() * padded16(task.in) * task.n_tile * task.taps();
  // Coefficients, input, products, products put down, results; zeros before; sums and their addition.
  launch.stages = 5 + (task.in % 16 != 0 || task.outs() < task.n_tile ? 1 : 0) + (adds ? 2 : 0);
}

void describe(const DenseTask& task, Launch& launch) {
  const bool gradient = task.z != nullptr, adds = gradient || task.moments != nullptr;
  const double pixels = static_cast<double>(task.images) * task.width * task.width, results = pixels * task.out;
  const double inputs = pixels * task.in * (task.stride == 1 ? 1 : gradient ? 0.25 : 4);
  launch.kind = gradient ? "input gradient" : "convolution";
  if (task.in == task.out) launch.name = "square";
  launch.bytes = kBf16Bytes * (inputs * tensors_of(task.input) + kTaps * task.in * task.out +
                               results * (gradient || task.added != nullptr ? 2 : 1));
  launch.sums = adds ? 2 * launch.blocks() * kDenseOuts : 0;
  launch.flop = 2 * launch.blocks() * kDensePixels * kTaps * task.in * kDenseOuts;
  launch.stages = 4 + (adds ? 2 : 0);  // coefficients, input, products, results; sums and their addition
}

// Of gradients by weights, beside reading and multiplying tile after tile: coefficients, sums put down, their addition.
constexpr double kWeightStages = 3;

void describe(const ConvWeightTask& task, Launch& launch) {
  const double results = pixels_of(task.tiles) * task.out, inputs = pixels_of(task.tiles, task.window) * task.in;
  launch.bytes = kBf16Bytes * task.groups * (results * tensors_of(task.grad) + inputs * tensors_of(task.input));
  launch.sums = static_cast<double>(task.parts) * task.groups * task.taps() * task.in * task.out;
  launch.stages = kWeightStages + 2 * parts_of(task.tiles.count(), task.parts);
  launch.flop = 2.0 * task.tiles.count() * task.tiles.pixels() * launch.shape.y * launch.shape.z * kWeightRows *
                kWeightColumns * task.taps();
}

void describe(const PointwiseWeightTask& task, Launch& launch) {
  const double pixels = task.pixels, fragments = 32 * 48 * static_cast<double>(task.out_tiles()) * task.in_tiles();
  launch.bytes =
      kBf16Bytes * pixels * task.groups * (task.out * tensors_of(task.grad) + task.in * tensors_of(task.input));
  launch.sums = static_cast<double>(task.parts) * task.groups * task.in * task.out;
  launch.stages = kWeightStages + 2 * parts_of(pixels, static_cast<double>(task.tile) * task.parts);
  launch.flop = 2 * pixels * task.cuts * task.groups * fragments;
}

void describe(const DenseWeightTask& task, Launch& launch) {
  const double pixels = static_cast<double>(task.images) * task.width * task.width;
  if (task.in == task.out) launch.name = "square";
  launch.bytes = kBf16Bytes * pixels * (task.out * tensors_of(task.grad) + task.in);
  launch.sums = static_cast<double>(task.parts) * kTaps * task.in * task.out;
  // A tile is read while the one before is multiplied.
  launch.stages = kWeightStages + 1 + parts_of(parts_of(pixels, kDensePixels), task.parts);
  launch.flop = 2 * pixels * kTaps * task.in * task.out;
}

void describe(const DepthwiseTask& task, Launch& launch) {
  const double inputs = static_cast<double>(task.images) * task.height * task.width * task.channels;
  const double results = static_cast<double>(task.images) * task.out_height * task.out_width * task.channels;
  const bool gradient = task.grad_x != nullptr, adds = gradient || task.moments != nullptr;
  const int height = gradient ? task.height : task.out_height, width = gradient ? task.width : task.out_width;
  launch.kind = "depthwise";
  launch.bytes = kBf16Bytes * (gradient ? 2 * inputs + results * tensors_of(task.grad) : inputs + results);
  launch.sums = adds ? static_cast<double>(launch.shape.x) * task.channels * (gradient ? kTaps + 2 : 2) : 0;
  // Coefficients, strip after strip; sums and their addition.
  launch.stages =
      1 + (adds ? 2 : 0) + parts_of(depthwise_strips(task.images, height, width), launch.shape.x * kDepthwiseWarps);
}

void describe(const JoinTask& task, Launch& launch) {
  constexpr double kRowsAtOnce = 2;
  const bool adds = task.kind == Join::kBackward || task.kind == Join::kMoments;
  const double beside = task.kind == Join::kBackward ? 2 : task.residual != nullptr ? 1 : 0;
  const double tensors = tensors_of(task.z) + beside + (task.kind == Join::kMoments ? 0 : 1);
  launch.kind = "joins";
  launch.bytes = kBf16Bytes * static_cast<double>(task.grid.rows) * task.grid.channels * tensors;
  launch.sums = adds ? 2.0 * task.grid.blocks * task.grid.channels : 0;
  // Coefficients, rows, and to add halves of the sums to one another.
  launch.stages = 1 + parts_of(static_cast<double>(task.grid.rows_per_block), task.grid.pass * kRowsAtOnce) +
                  (adds ? 2 + std::ceil(std::log2(task.grid.pass)) : 0);
}

void describe(const PoolTask& task, Launch& launch) {
  launch.kind = "joins";
  launch.bytes = kBf16Bytes * 1.25 * static_cast<double>(task.pixels()) * task.channels;  // one side is a quarter
}

// One kernel for the whole network, of so many numbers and bytes for each.
void describe_step(Launch& launch, double numbers, double bytes) {
  launch.kind = "per step";
  launch.bytes = numbers * bytes;
  launch.stages = parts_of(numbers, launch.blocks() * launch.shape.threads);
}
double channels_of(const NormTable& norms) {
  return std::accumulate(norms.rows, norms.rows + norms.count, 0.0,
                         [](double sum, const NormTable::Row& row) { return sum + row.norm.channels; });
}
void describe(const RoundTask& task, Launch& launch) {
  describe_step(launch, static_cast<double>(task.count), kFloatBytes + kBf16Bytes);
}
void describe(const GradientTask& task, Launch& launch) {
  launch.waits = true;
  describe_step(launch, static_cast<double>(task.count), kFixedBytes + kFloatBytes);
}
void describe(const SgdTask& task, Launch& launch) {
  describe_step(launch, static_cast<double>(task.count), kFloatBytes * (task.momenta != nullptr ? 5 : 3));
}
void describe(const RunningTask& task, Launch& launch) {
  describe_step(launch, channels_of(task.norms), kMomentRows * kFixedBytes + 4 * kFloatBytes);
}
void describe(const NormTable& norms, Launch& launch) {
  describe_step(launch, channels_of(norms), (kMomentRows + kSlopeRows) * kFixedBytes + 4 * kFloatBytes);
}
void describe(const TermsTask& task, Launch& launch) { describe_step(launch, task.count, 3 * kFixedBytes); }

// Rows are read, summed up and written; a divergence's sums follow from each other, for one target after another.
void describe_rows(Launch& launch, int rows, int classes, int targets, double stages) {
  launch.kind = "per step";
  launch.bytes = kFloatBytes * rows * classes * (2.0 + targets);
  launch.stages = stages;
}
void describe(const DivergenceTask& task, Launch& launch) {
  describe_rows(launch, task.rows, task.classes, task.targets, 1 + 2 * task.targets);
}
void describe(const SoftenTask& task, Launch& launch) { describe_rows(launch, task.rows, task.classes, 0, 1); }
void describe(const CrossEntropyTask& task, Launch& launch) { describe_rows(launch, task.rows, task.classes, 1, 2); }
void describe(const JensenShannonTask& task, Launch& launch) {
  describe_rows(launch, task.rows, task.classes, 3 * task.views, 1 + 2 * task.views);
}
void describe(const RowTotalTask& task, Launch& launch) { describe_step(launch, task.rows, kFloatBytes); }

// Takes the place of a device that runs kernels.
struct NotedRun {
  Launch& launch;

  template <class Kernel>
  int operator()(const Kernel&, const LaunchShape& shape) const {
    launch.shape = shape;
    launch.at_once = Kernel::kBlocksAtOnce;
    return 0;
  }
};

template <class Task>
Launch launch_of(const Task& task) {
  Launch launch;
  run_fused(task, NotedRun{launch});
  if constexpr (requires { task.parts; }) {  // gradients by weights, which go over parts of the pixels
    launch.kind = "weight gradient";
    launch.beside = true;
  }
  describe(task, launch);
  return launch;
}

std::vector<Launch>* g_launches = nullptr;

template <class Values>
std::vector<at::Tensor> tensors_among(const Values& values) {
  std::vector<at::Tensor> tensors;
  for (const c10::IValue& value : values) {
    if (value.isTensor() && value.toTensor().defined()) tensors.push_back(value.toTensor());
    if (value.isTensorList()) std::ranges::copy(value.toTensorVector(), std::back_inserter(tensors));
  }
  return tensors;
}

double bytes_of(const std::vector<at::Tensor>& tensors) {
  double bytes = 0;
  for (const auto& tensor : tensors) bytes += static_cast<double>(tensor.nbytes());
  return bytes;
}

// An operation of LibTorch's under way.
struct Operation : at::ObserverContext {
  Operation* around;
  std::vector<at::Tensor> read;
  bool whole = false;  // a GPU does it by one kernel, whatever a CPU begins for it
  bool begun_others = false;
};
thread_local Operation* t_operation = nullptr;

std::unique_ptr<at::ObserverContext> begin_operation(const at::RecordFunction& function) {
  auto operation = std::make_unique<Operation>();
  operation->around = std::exchange(t_operation, operation.get());
  operation->read = tensors_among(function.inputs());
  operation->whole = std::string_view(function.name()).starts_with("aten::_foreach_");
  if (operation->around != nullptr) operation->around->begun_others = true;
  return operation;
}

void end_operation(const at::RecordFunction& function, at::ObserverContext* context) {
  const auto& operation = static_cast<const Operation&>(*context);
  t_operation = operation.around;
  const std::string_view name = function.name();
  const auto has = [&](std::string_view part) { return name.find(part) != std::string_view::npos; };
  const auto made = tensors_among(function.outputs());
  for (const Operation* outer = operation.around; outer != nullptr; outer = outer->around)
    if (outer->whole) return;
  // One that began others is these; views and memory alone are no kernels.
  const bool is_view = !name.ends_with("_") && std::ranges::any_of(operation.read, [&](const at::Tensor& tensor) {
    return made.empty() || tensor.is_alias_of(made[0]);
  });
  if (!operation.whole && (operation.begun_others || made.empty() || is_view || has("empty") || has("resize"))) return;
  constexpr double kBlockBytes = 4096;
  Launch launch;
  launch.kind = "LibTorch";
  launch.name = name;
  launch.bytes = bytes_of(operation.read) + bytes_of(made);
  launch.shape = {static_cast<int>(parts_of(launch.bytes, kBlockBytes)), 1, 1, 128, 0};
  g_launches->push_back(launch);
}

// Everything that `work` asks of the device.
std::vector<Launch> launches_of(const std::function<void()>& work) {
  std::vector<Launch> launches;
  g_launches = &launches;
  const auto handle = at::addThreadLocalCallback(at::RecordFunctionCallback(begin_operation, end_operation)
                                                     .needsInputs(true)
                                                     .needsOutputs(true)
                                                     .scopes({at::RecordScope::FUNCTION}));
  work();
  at::removeCallback(handle);
  g_launches = nullptr;
  return launches;
}

struct Question {
  std::string model;
  std::int64_t batch = 0, views = 1, teachers = 0;
  bool evaluates = false;
};

Objective objective_of(const Question& question) {
  constexpr double kJsWeight = 12;
  if (question.teachers == 0) return Objective(kJsWeight);
  std::vector<std::size_t> teachers(static_cast<std::size_t>(question.teachers));
  std::iota(teachers.begin(), teachers.end(), 0);
  return {kJsWeight, distillation_loss_registry().at("kd"), DistillConfig(), LossContext{.classes = kClasses},
          teachers};
}

// What train/learner.cpp does with a batch, from the copy of the batch on.
void train(Classifier& model, const Objective& objective, EpochSums& sums, const Batch& given) {
  Batch batch;
  copy_in_place(batch, given);
  Outputs outputs;
  {
    const AutocastGuard autocast(at::kCPU, Precision::kBf16);
    outputs = model.forward(batch.images);
  }
  outputs.logits = outputs.logits.to(at::kFloat);
  const LossTerms losses = objective.terms(batch, outputs, {});
  const at::Tensor total = losses.total();
  total.backward();
  // As train/optimizer.cpp on a GPU: all gradients in one buffer, where those of LibTorch's layers are copied to.
  const at::NoGradGuard no_grad;
  const auto whole = [](const at::Tensor& tensor) {
    return tensor.detach().as_strided({static_cast<std::int64_t>(tensor.storage().nbytes() / sizeof(float))}, {1}, 0);
  };
  const auto parameters = model.parameters();
  const at::Tensor all = whole(parameters.at(0).tensor), gradients = whole(parameters.at(0).tensor.grad());
  TORCH_CHECK(gradients.sizes() == all.sizes(), model.spec().name, " does not train on the fused kernels");
  for (const auto& [name, parameter] : parameters)
    if (!parameter.grad().is_alias_of(gradients))
      gradients.as_strided(parameter.sizes(), parameter.strides(), parameter.storage_offset()).copy_(parameter.grad());
  fused_sgd(all, gradients, at::empty_like(all), at::empty({}, all.options()), {.momentum = 0.9});
  for (const auto& [name, parameter] : parameters) parameter.mutable_grad().reset();
  sums.add(losses, total, batch.size());
}

std::vector<Launch> answer(const Question& question) {
  const auto model = make_model({.name = question.model, .classes = kClasses}, /*seed=*/1);
  model->to(at::kCPU);
  const at::Tensor images = at::zeros({question.views * question.batch, 3, kSide, kSide}, at::kBFloat16)
                                .contiguous(at::MemoryFormat::ChannelsLast);
  if (question.evaluates) {
    model->set_training(false);
    return launches_of([&] {
      const at::NoGradGuard no_grad;
      const AutocastGuard autocast(at::kCPU, Precision::kBf16);
      model->forward(images).logits.to(at::kFloat);
    });
  }
  model->set_training(true);
  const Objective objective = objective_of(question);
  EpochSums sums;
  const at::Tensor logits = at::zeros({question.batch, kClasses}), labels = at::zeros({question.batch}, at::kLong);
  Batch batch{.images = images,
              .targets = logits,
              .labels = labels,
              .indices = labels,
              .views = question.views,
              .teachers = {}};
  batch.teachers.assign(static_cast<std::size_t>(question.teachers), Outputs{logits, {}});
  train(*model, objective, sums, batch);  // the first makes the sums
  return launches_of([&] { train(*model, objective, sums, batch); });
}

nlohmann::ordered_json json_of(const Question& question, const std::vector<Launch>& launches) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const Launch& launch : launches) {
    const LaunchShape& shape = launch.shape;
    all.push_back({{"kind", launch.kind},
                   {"name", launch.name},
                   {"beside", launch.beside},
                   {"waits", launch.waits},
                   {"blocks", launch.blocks()},
                   {"threads", shape.threads},
                   {"shared_bytes", shape.shared_bytes},
                   {"at_once", launch.at_once},
                   {"stages", launch.stages},
                   {"bytes", launch.bytes},
                   {"sums", launch.sums},
                   {"flop", launch.flop}});
  }
  return {{"model", question.model},       {"batch", question.batch},         {"views", question.views},
          {"teachers", question.teachers}, {"evaluates", question.evaluates}, {"launches", all}};
}

std::int64_t count_of(const std::string& text) {
  std::int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size() || count < 1 || count > 4096)
    throw UsageError("takes a number from 1 to 4096, not " + text);
  return count;
}

Question parse(const std::vector<std::string>& arguments) {
  const UsageError usage("usage: ekd_step_trace MODEL BATCH [--evaluate | --views N | --teachers N]");
  if (arguments.size() < 2) throw usage;
  Question question{.model = arguments[0], .batch = count_of(arguments[1])};
  for (std::size_t i = 2; i < arguments.size(); ++i) {
    const bool has_value = i + 1 < arguments.size();
    if (arguments[i] == "--evaluate")
      question.evaluates = true;
    else if (arguments[i] == "--views" && has_value)
      question.views = count_of(arguments[++i]);
    else if (arguments[i] == "--teachers" && has_value)
      question.teachers = count_of(arguments[++i]);
    else
      throw usage;
  }
  return question;
}

}  // namespace
}  // namespace ekd

int main(int count, char** arguments) {
  using namespace ekd;
  try {
    const Question question = parse({arguments + 1, arguments + count});
    at::set_num_threads(1);  // of several threads LibTorch's operations begin others
    set_fused_emulator([](const FusedTask& task) {
      if (g_launches != nullptr)
        g_launches->push_back(std::visit([](const auto& one) { return launch_of(one); }, task));
    });
    std::cout << json_of(question, answer(question)) << '\n';
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 2;
  }
}
