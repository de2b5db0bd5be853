// safetensors: 8-byte little-endian header length, JSON header, data. Reading trusts nothing; LibTorch is not involved,
// so that sanitizers and fuzzers can drive this file alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ekd {

enum class DType { kF64, kF32, kF16, kBF16, kI64, kI32, kI16, kI8, kU8, kBool, kOther };

std::string_view dtype_name(DType dtype);  // "F32"
std::size_t dtype_size(DType dtype);       // bytes

struct TensorEntry {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  std::size_t begin = 0, end = 0;  // bytes from the start of the data
  std::string stated_dtype;        // as the file has it: kOther is whatever ekd has no name for
};

struct SafetensorsFile {
  std::vector<TensorEntry> tensors;             // by position in the data
  std::map<std::string, std::string> metadata;  // the header's __metadata__
  std::vector<std::byte> bytes;                 // the whole file
  std::size_t data_begin = 0;

  std::span<const std::byte> data(const TensorEntry& tensor) const {
    return std::span(bytes).subspan(data_begin + tensor.begin, tensor.end - tensor.begin);
  }
};

// Version of what ekd writes under the metadata key "ekd"; newer ones are refused by name.
inline constexpr int kFormatVersion = 1;

// Throws WeightsError, its message starting with `name`, unless every rule of the format and, where the file states
// one, its checksum holds.
SafetensorsFile parse_safetensors(std::vector<std::byte> bytes, const std::string& name);
SafetensorsFile read_safetensors(const std::filesystem::path& path);

// What ekd's own files say about themselves: the metadata's "ekd" object, or null for files of other tools.
nlohmann::json own_metadata(const SafetensorsFile& file);

struct TensorBytes {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

// Writes atomically, with `own` (an object, e.g. {"kind": "weights", "model": …}) completed by format_version and
// sha256 under the metadata key "ekd". Throws IoError.
void write_safetensors(const std::filesystem::path& path, const std::vector<TensorBytes>& tensors,
                       const nlohmann::json& own);

}  // namespace ekd
