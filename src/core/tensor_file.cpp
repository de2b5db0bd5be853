#include "ekd/core/tensor_file.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <cstring>
#include <set>

#include "core/safetensors.h"
#include "ekd/core/error.h"
#include "ekd/core/text.h"

namespace ekd {
namespace {

constexpr std::pair<DType, at::ScalarType> kScalarTypes[] = {
    {DType::kF64, at::kDouble}, {DType::kF32, at::kFloat}, {DType::kF16, at::kHalf},  {DType::kBF16, at::kBFloat16},
    {DType::kI64, at::kLong},   {DType::kI32, at::kInt},   {DType::kI16, at::kShort}, {DType::kI8, at::kChar},
    {DType::kU8, at::kByte},    {DType::kBool, at::kBool}};

at::ScalarType scalar_type(DType dtype) {
  for (const auto& [ours, theirs] : kScalarTypes)
    if (ours == dtype) return theirs;
  TORCH_CHECK(false, "no scalar type for this dtype");
}

DType dtype_of(at::ScalarType type) {
  for (const auto& [ours, theirs] : kScalarTypes)
    if (theirs == type) return ours;
  TORCH_CHECK(false, "safetensors has no dtype for ", type);
}

std::string shape_text(at::IntArrayRef shape) {
  std::string text = "[";
  for (const auto size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

// The first few names, and how many more.
std::string sample(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 5;
  std::vector<std::string> shown(names.begin(),
                                 names.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, names.size())));
  std::string text = join(shown);
  if (names.size() > kShown) text += " and " + std::to_string(names.size() - kShown) + " more";
  return text;
}

}  // namespace

const at::Tensor* TensorFile::find(const std::string& name) const {
  for (const auto& tensor : tensors)
    if (tensor.name == name) return &tensor.tensor;
  return nullptr;
}

const at::Tensor& TensorFile::at(const std::string& name) const {
  if (const auto* tensor = find(name)) return *tensor;
  if (const auto found = foreign.find(name); found != foreign.end())
    throw WeightsError(path + ": tensor '" + name + "' has the unknown dtype '" + found->second + "'");
  throw WeightsError(path + ": tensor '" + name + "' is missing");
}

TensorFile read_tensor_file(const std::filesystem::path& path) {
  const SafetensorsFile file = read_safetensors(path);
  TensorFile result{path.string(), {}, own_metadata(file), file.metadata, {}};
  for (const auto& entry : file.tensors) {
    if (entry.dtype == DType::kOther) {
      result.foreign.emplace(entry.name, entry.stated_dtype);
      continue;
    }
    at::Tensor tensor = at::empty(entry.shape, at::TensorOptions().dtype(scalar_type(entry.dtype)));
    const auto bytes = file.data(entry);
    if (!bytes.empty()) std::memcpy(tensor.mutable_data_ptr(), bytes.data(), bytes.size());
    result.tensors.push_back({entry.name, tensor});
  }
  return result;
}

void write_tensor_file(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const nlohmann::json& own) {
  std::vector<at::Tensor> kept;  // owns what the spans point into
  std::vector<TensorBytes> entries;
  for (const auto& [name, tensor] : tensors) {
    kept.push_back(tensor.detach().to(at::kCPU).contiguous());
    const at::Tensor& flat = kept.back();
    entries.push_back({name,
                       dtype_of(flat.scalar_type()),
                       flat.sizes().vec(),
                       {static_cast<const std::byte*>(flat.const_data_ptr()), flat.nbytes()}});
  }
  write_safetensors(path, entries, own);
}

void copy_into(const std::vector<NamedTensor>& live, const TensorFile& file, const std::string& prefix) {
  std::map<std::string, const at::Tensor*> stored;
  for (const auto& [name, tensor] : file.tensors)
    if (name.starts_with(prefix)) stored.emplace(name.substr(prefix.size()), &tensor);

  std::vector<std::string> missing, misfit;
  for (const auto& [name, tensor] : live) {
    const auto found = stored.find(name);
    if (const auto foreign = file.foreign.find(prefix + name); foreign != file.foreign.end()) {
      misfit.push_back(name + " (" + foreign->second + ", expected " + toString(tensor.scalar_type()) + ")");
      continue;
    }
    if (found == stored.end()) {
      missing.push_back(name);
      continue;
    }
    const at::Tensor& other = *found->second;
    const bool same_kind =
        other.scalar_type() == tensor.scalar_type() || (other.is_floating_point() && tensor.is_floating_point());
    if (other.sizes() != tensor.sizes() || !same_kind) {
      misfit.push_back(name + " (" + toString(other.scalar_type()) + " " + shape_text(other.sizes()) + ", expected " +
                       toString(tensor.scalar_type()) + " " + shape_text(tensor.sizes()) + ")");
    }
  }
  std::vector<std::string> unexpected;
  std::set<std::string> expected;
  for (const auto& tensor : live) expected.insert(tensor.name);
  for (const auto& item : stored)
    if (!expected.contains(item.first)) unexpected.push_back(item.first);
  for (const auto& item : file.foreign)
    if (item.first.starts_with(prefix) && !expected.contains(item.first.substr(prefix.size())))
      unexpected.push_back(item.first.substr(prefix.size()));

  std::vector<std::string> problems;
  if (!missing.empty()) problems.push_back("missing: " + sample(missing));
  if (!unexpected.empty()) problems.push_back("unexpected: " + sample(unexpected));
  if (!misfit.empty()) problems.push_back("mis-shaped: " + sample(misfit));
  if (!problems.empty()) throw WeightsError(file.path + ": does not fit; " + join(problems, "; "));

  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : live) at::Tensor(tensor).copy_(*stored.at(name));
}

}  // namespace ekd
