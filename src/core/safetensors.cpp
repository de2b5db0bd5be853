#include "core/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/sha256.h"
#include "ekd/core/strict_json.h"

namespace ekd {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is copied as it lies in memory");

constexpr std::size_t kLengthBytes = 8;
constexpr std::size_t kMaxHeader = 100'000'000;
constexpr std::size_t kShaDigits = 64;

struct DTypeRow {
  DType dtype;
  std::string_view name;
  std::size_t size;
};
constexpr std::array<DTypeRow, 10> kDTypes{{{DType::kF64, "F64", 8},
                                            {DType::kF32, "F32", 4},
                                            {DType::kF16, "F16", 2},
                                            {DType::kBF16, "BF16", 2},
                                            {DType::kI64, "I64", 8},
                                            {DType::kI32, "I32", 4},
                                            {DType::kI16, "I16", 2},
                                            {DType::kI8, "I8", 1},
                                            {DType::kU8, "U8", 1},
                                            {DType::kBool, "BOOL", 1}}};

// The size of an element in files of other tools, where it is known: ekd has no use for such tensors, but its file may
// hold others.
std::size_t foreign_size(std::string_view name) {
  if (name == "U64" || name == "C64") return 8;
  if (name == "U32") return 4;
  if (name == "U16") return 2;
  return name.starts_with("F8_") ? 1 : 0;
}

const DTypeRow& row_of(DType dtype) {
  return *std::find_if(kDTypes.begin(), kDTypes.end(), [&](const DTypeRow& row) { return row.dtype == dtype; });
}

[[noreturn]] void reject(const std::string& name, const std::string& what) { throw WeightsError(name + ": " + what); }

std::string_view header_text(const SafetensorsFile& file) {
  return {reinterpret_cast<const char*>(file.bytes.data()) + kLengthBytes, file.data_begin - kLengthBytes};
}

// A whole number in [0, 2^63), as sizes and offsets are.
std::optional<std::size_t> whole_number(const nlohmann::json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  const auto number = value.get<std::uint64_t>();
  if (number > static_cast<std::uint64_t>(INT64_MAX)) return std::nullopt;
  return static_cast<std::size_t>(number);
}

TensorEntry read_entry(const std::string& key, const nlohmann::json& value, std::size_t data_size,
                       const std::string& file) {
  const std::string where = "tensor '" + key + "'";
  const bool complete = value.is_object() && value.size() == 3 && value.contains("dtype") &&
                        value["dtype"].is_string() && value.contains("shape") && value["shape"].is_array() &&
                        value.contains("data_offsets") && value["data_offsets"].is_array() &&
                        value["data_offsets"].size() == 2;
  if (!complete) reject(file, where + " does not state exactly dtype, shape and data_offsets");

  TensorEntry entry{.name = key, .shape = {}};
  const auto dtype_text = value["dtype"].get<std::string>();
  const auto* dtype =
      std::find_if(kDTypes.begin(), kDTypes.end(), [&](const DTypeRow& row) { return row.name == dtype_text; });
  entry.stated_dtype = dtype_text;
  entry.dtype = dtype == kDTypes.end() ? DType::kOther : dtype->dtype;
  const std::size_t element = dtype == kDTypes.end() ? foreign_size(dtype_text) : dtype->size;

  std::size_t bytes = element, bytes_without_zeros = std::max<std::size_t>(element, 1);
  for (const auto& size : value["shape"]) {
    const auto number = whole_number(size);
    if (!number) reject(file, where + " has a shape that is not a list of whole numbers");
    // An empty tensor's other sizes must not overflow either: strides are computed from them.
    const std::size_t factor = std::max<std::size_t>(*number, 1);
    if (__builtin_mul_overflow(bytes_without_zeros, factor, &bytes_without_zeros) ||
        bytes_without_zeros > static_cast<std::size_t>(INT64_MAX))
      reject(file, where + " has a shape that overflows");
    bytes *= *number;
    entry.shape.push_back(static_cast<std::int64_t>(*number));
  }
  const auto begin = whole_number(value["data_offsets"][0]), end = whole_number(value["data_offsets"][1]);
  if (!begin || !end || *begin > *end || *end > data_size) reject(file, where + " has offsets outside the data");
  if (element > 0 && *end - *begin != bytes) {
    reject(file, where + " spans " + std::to_string(*end - *begin) + " bytes, its shape and dtype need " +
                     std::to_string(bytes));
  }
  entry.begin = *begin;
  entry.end = *end;
  return entry;
}

void check_contiguous(std::vector<TensorEntry>& tensors, std::size_t data_size, const std::string& file) {
  std::stable_sort(tensors.begin(), tensors.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::size_t position = 0;
  for (const auto& tensor : tensors) {
    if (tensor.begin != position)
      reject(file, "tensor '" + tensor.name + "' overlaps another or leaves a gap before it");
    position = tensor.end;
  }
  if (position != data_size) {
    reject(file, std::to_string(data_size - position) + " bytes at the end belong to no tensor");
  }
}

// Digits are hashed as zeros where they stand in the header.
std::string checksum(std::string header, std::size_t digits_at, std::span<const std::span<const std::byte>> data) {
  header.replace(digits_at, kShaDigits, kShaDigits, '0');
  Sha256 hash;
  hash.update(header);
  for (const auto piece : data) hash.update(piece.data(), piece.size());
  return hash.hex();
}

// A file is ours when it says so in any of three places: one flipped bit cannot hide all of them.
bool claims_to_be_ours(const SafetensorsFile& file) {
  if (file.metadata.contains("ekd")) return true;
  return std::any_of(file.metadata.begin(), file.metadata.end(), [](const auto& item) {
    return item.second.find("\"format_version\"") != std::string::npos ||
           item.second.find("\"sha256\"") != std::string::npos;
  });
}

void check_own(const SafetensorsFile& file, const std::string& name) {
  if (!claims_to_be_ours(file)) return;
  const nlohmann::json own = own_metadata(file);
  const bool complete = own.is_object() && own.contains("format_version") &&
                        own["format_version"].is_number_integer() && own.contains("kind") && own["kind"].is_string() &&
                        own.contains("sha256") && own["sha256"].is_string();
  if (!complete) reject(name, "its 'ekd' metadata is damaged");
  if (own["format_version"].get<std::int64_t>() > kFormatVersion) {
    reject(name, "has format version " + own["format_version"].dump() + ", this ekd reads up to " +
                     std::to_string(kFormatVersion) + "; use a newer ekd");
  }
  const auto stated = own["sha256"].get<std::string>();
  const std::string header(header_text(file));
  const auto at = header.find(stated);
  const auto data = std::span(file.bytes).subspan(file.data_begin);
  const bool found = stated.size() == kShaDigits && at != std::string::npos;
  const std::span<const std::byte> piece = data;
  if (!found || checksum(header, at, std::span(&piece, 1)) != stated)
    reject(name, "is damaged: its checksum does not match");
}

}  // namespace

std::string_view dtype_name(DType dtype) { return row_of(dtype).name; }
std::size_t dtype_size(DType dtype) { return row_of(dtype).size; }

SafetensorsFile parse_safetensors(std::vector<std::byte> bytes, const std::string& name) {
  if (bytes.size() < kLengthBytes) reject(name, "is too short to be a safetensors file");
  std::uint64_t header_size = 0;
  std::memcpy(&header_size, bytes.data(), kLengthBytes);
  if (header_size > kMaxHeader) reject(name, "is not a safetensors file (its header would exceed 100,000,000 bytes)");
  if (header_size > bytes.size() - kLengthBytes) reject(name, "is shorter than its header: truncated?");

  SafetensorsFile file;
  file.bytes = std::move(bytes);
  file.data_begin = kLengthBytes + header_size;
  const std::size_t data_size = file.bytes.size() - file.data_begin;
  if (!header_text(file).starts_with('{')) reject(name, "is not a safetensors file (its header is no JSON object)");
  nlohmann::json header;
  try {
    header = parse_strict_json(header_text(file));
  } catch (const JsonError& error) {
    reject(name, std::string("its header is damaged: ") + error.what());
  }
  for (const auto& [key, value] : header.items()) {
    if (key != "__metadata__") {
      file.tensors.push_back(read_entry(key, value, data_size, name));
      continue;
    }
    if (value.is_null()) continue;
    if (!value.is_object()) reject(name, "its __metadata__ is not an object");
    for (const auto& [meta, text] : value.items()) {
      if (!text.is_string()) reject(name, "its __metadata__ '" + meta + "' is not a string");
      file.metadata.emplace(meta, text.get<std::string>());
    }
  }
  check_contiguous(file.tensors, data_size, name);
  check_own(file, name);
  return file;
}

SafetensorsFile read_safetensors(const std::filesystem::path& path) {
  if (!path_exists(path)) reject(path.string(), "no such file");
  return parse_safetensors(read_file(path), path.string());
}

nlohmann::json own_metadata(const SafetensorsFile& file) {
  const auto found = file.metadata.find("ekd");
  if (found == file.metadata.end()) return nullptr;
  try {
    return parse_strict_json(found->second);
  } catch (const JsonError&) {
    return nullptr;
  }
}

void write_safetensors(const std::filesystem::path& path, const std::vector<TensorBytes>& tensors,
                       const nlohmann::json& own) {
  nlohmann::json stated = own;
  stated["format_version"] = kFormatVersion;
  stated["sha256"] = std::string(kShaDigits, '0');
  // Insertion order keeps the tensors of the header in the order of the data.
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}, {"ekd", json_text(stated)}};
  std::vector<std::span<const std::byte>> pieces(2);
  std::size_t position = 0;
  for (const auto& tensor : tensors) {
    const std::size_t end = position + tensor.bytes.size();
    header[tensor.name] = {
        {"dtype", dtype_name(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {position, end}}};
    pieces.push_back(tensor.bytes);
    position = end;
  }
  std::string text = json_text(header);
  text.append((kLengthBytes - text.size() % kLengthBytes) % kLengthBytes,
              ' ');  // aligned data, as the format recommends
  const auto digits_at = text.find(std::string(kShaDigits, '0'));
  text.replace(digits_at, kShaDigits, checksum(text, digits_at, std::span(pieces).subspan(2)));

  const std::uint64_t length = text.size();
  pieces[0] = std::as_bytes(std::span(&length, 1));
  pieces[1] = std::as_bytes(std::span(text));
  write_file_atomically(path, pieces);
}

}  // namespace ekd
