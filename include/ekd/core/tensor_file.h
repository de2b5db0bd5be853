// Tensors to and from safetensors files.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ekd/core/types.h"

namespace ekd {

struct TensorFile {
  std::string path;
  std::vector<NamedTensor> tensors;             // on the CPU, contiguous, by position in the file
  nlohmann::json own;                           // ekd's own metadata, null for files of other tools
  std::map<std::string, std::string> metadata;  // all of the file's metadata
  std::map<std::string, std::string> foreign;   // by name, the dtypes of tensors that ekd does not read

  // Null where there is none of that name that ekd reads.
  const at::Tensor* find(const std::string& name) const;
  // Throws WeightsError where there is none of that name, or its dtype is foreign.
  const at::Tensor& at(const std::string& name) const;
};

// Throws WeightsError for whatever is wrong with the file.
TensorFile read_tensor_file(const std::filesystem::path& path);

// Tensors may lie on any device and in any layout. `own` needs "kind": weights, checkpoint or predictions. Throws
// IoError.
void write_tensor_file(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const nlohmann::json& own);

// Copies `file`'s tensors into the live ones of the same names, after all names, shapes and dtypes have been checked:
// floating dtypes convert, integers don't. `prefix` selects the file's tensors and is taken off their names. Throws
// WeightsError that lists what is missing, unexpected or mis-shaped; then nothing has been changed.
void copy_into(const std::vector<NamedTensor>& live, const TensorFile& file, const std::string& prefix = "");

}  // namespace ekd
