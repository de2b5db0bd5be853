#include "data/npy.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "data/layout.h"
#include "data/new_files.h"
#include "data/source_file.h"
#include "ekd/core/error.h"
#include "ekd/kernels/views.h"

namespace ekd {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr const char* kClassNames = "class_names.txt";
constexpr std::int64_t kMostClasses = 65'536;

[[noreturn]] void refuse_npy(const std::string& path, const std::string& what) { throw DataError(path + ": " + what); }

std::string shape_of(const NpyFile& file) {
  std::string text = "[";
  for (const auto size : file.shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

// The header, a Python dictionary of three known keys: {'descr': '<i8', 'fortran_order': False, 'shape': (3, 4), }
class HeaderReader {
 public:
  HeaderReader(std::string_view text, NpyFile& file) : rest_(text), file_(file) {}

  void read() {
    expect('{');
    std::set<std::string> keys;
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr") {
        if (peek() == '[') refuse_npy(file_.path, "holds records, and ekd reads arrays of numbers");
        file_.dtype = quoted();
      } else if (key == "fortran_order") {
        if (boolean()) refuse_npy(file_.path, "is in Fortran's order; numpy.ascontiguousarray puts it in C's");
      } else if (key == "shape") {
        file_.shape = sizes();
      } else {
        damaged();
      }
      if (!keys.insert(key).second) damaged();
      if (!accept(',') && peek() != '}') damaged();
    }
    if (keys.size() != 3 || peek() != '\0') damaged();
  }

 private:
  [[noreturn]] void damaged() const { refuse_npy(file_.path, "its .npy header is damaged"); }

  char peek() {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(" \n\t"), rest_.size()));
    return rest_.empty() ? '\0' : rest_.front();
  }
  bool accept(char c) {
    if (peek() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!accept(c)) damaged();
  }
  bool accept_word(std::string_view word) {
    peek();
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  bool boolean() {
    if (accept_word("True")) return true;
    if (!accept_word("False")) damaged();
    return false;
  }
  std::string quoted() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') damaged();
    const auto end = rest_.find(quote, 1);
    if (end == std::string_view::npos) damaged();
    std::string text(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return text;
  }
  std::vector<std::int64_t> sizes() {
    std::vector<std::int64_t> sizes;
    expect('(');
    while (!accept(')')) {
      peek();
      std::int64_t size = -1;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), size);
      if (error != std::errc{} || size < 0) damaged();
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      sizes.push_back(size);
      if (!accept(',') && peek() != ')') damaged();
    }
    return sizes;
  }

  std::string_view rest_;
  NpyFile& file_;
};

// Bytes of the array that a header states; nothing where they overflow.
std::optional<std::size_t> stated_bytes(const NpyFile& file) {
  std::size_t bytes = file.element_bytes();
  for (const auto size : file.shape)
    if (__builtin_mul_overflow(bytes, static_cast<std::size_t>(size), &bytes)) return std::nullopt;
  return bytes;
}

// '<', '>', '|' or '=', a kind, the bytes of an element. Images and labels are of one letter and one digit.
void check_dtype(const NpyFile& file) {
  const std::string& dtype = file.dtype;
  if (dtype.ends_with('O') || dtype.starts_with("|O"))
    refuse_npy(file.path, "holds Python objects ('" + dtype + "'), and ekd reads arrays of numbers");
  const bool known = dtype.size() == 3 && std::string_view("<>|=").find(dtype[0]) != std::string_view::npos &&
                     std::string_view("uif").find(dtype[1]) != std::string_view::npos && dtype[2] >= '1' &&
                     dtype[2] <= '8';
  if (!known) refuse_npy(file.path, "holds '" + dtype + "'; accepted: uint8 images, labels of integers");
}

NpyFile parse_npy(std::vector<std::byte> bytes, const std::string& path) {
  NpyFile file{path, {}, {}, std::move(bytes), 0};
  const std::string_view text(reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size());
  constexpr std::size_t kVersion = kMagic.size(), kLength = kVersion + 2;
  if (!text.starts_with(kMagic)) refuse_npy(path, "is not a .npy file");
  const int version = text.size() > kVersion ? static_cast<unsigned char>(text[kVersion]) : 0;
  if (text.size() > kVersion && (version < 1 || version > 3))
    refuse_npy(path, "is of version " + std::to_string(version) + " of .npy; accepted: 1 to 3");
  const std::size_t length_bytes = version == 1 ? 2 : 4, header_begin = kLength + length_bytes;
  std::size_t length = 0;
  for (std::size_t i = 0; i < length_bytes && kLength + i < text.size(); ++i)
    length |= std::to_integer<std::size_t>(file.bytes[kLength + i]) << (8 * i);
  if (text.size() < header_begin || length > text.size() - header_begin) refuse_npy(path, "is cut short in its header");
  HeaderReader(text.substr(header_begin, length), file).read();
  check_dtype(file);
  file.data_begin = header_begin + length;
  const std::size_t held = file.bytes.size() - file.data_begin;
  if (stated_bytes(file) != held)
    refuse_npy(path, "holds " + std::to_string(held) + " bytes of data, which is not " + shape_of(file) + " of '" +
                         file.dtype + "'");
  return file;
}

const std::byte* data_of(const NpyFile& file) { return file.bytes.data() + file.data_begin; }

bool is_channels(std::int64_t size) { return size == 1 || size == 3; }

// uint8 [N, C, H, W]
at::Tensor images_of(NpyFile file) {
  if (file.dtype.substr(1) != "u1") refuse_npy(file.path, "holds '" + file.dtype + "'; images are uint8 ('|u1')");
  auto shape = file.shape;
  const bool plane = shape.size() == 3;
  const bool first = plane || (shape.size() == 4 && is_channels(shape[1])),
             last = shape.size() == 4 && is_channels(shape[3]);
  if (first == last && !plane)
    refuse_npy(file.path, "has the shape " + shape_of(file) + (first ? ", which may be either of" : "; accepted:") +
                              " [N, H, W, C] and [N, C, H, W] with C 1 or 3" + (first ? "" : ", or [N, H, W]"));
  const std::size_t height = last || plane ? 1 : 2;
  if (shape[0] < 1) refuse_npy(file.path, "holds no image");
  for (const auto side : {shape[height], shape[height + 1]})
    if (side < 1 || side > kLargestImageSide)
      refuse_npy(file.path, "has images of the shape " + shape_of(file) + "; accepted: sides of 1 to " +
                                std::to_string(kLargestImageSide) + " pixels");
  if (plane) shape.insert(shape.begin() + 1, 1);
  auto owner = std::make_shared<NpyFile>(std::move(file));
  auto* data = owner->bytes.data() + owner->data_begin;
  const at::Tensor images = at::from_blob(
      data, shape, [owner](void*) {}, at::kByte);
  return last ? images.permute({0, 3, 1, 2}).contiguous() : images;
}

std::int64_t integer_at(const NpyFile& file, std::int64_t index) {
  const std::size_t width = file.element_bytes();
  const std::byte* element = data_of(file) + static_cast<std::size_t>(index) * width;
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < width; ++i)
    value = value << 8 | std::to_integer<std::uint64_t>(element[file.dtype[0] == '>' ? i : width - 1 - i]);
  const bool negative = file.dtype[1] == 'i' && (value >> (8 * width - 1) & 1) != 0;
  if (negative && width < sizeof value) value |= ~std::uint64_t{0} << (8 * width);
  return static_cast<std::int64_t>(value);
}

// int64 [N], in [0, classes).
at::Tensor labels_of(const NpyFile& file, std::int64_t images, std::int64_t classes) {
  if (file.dtype[1] == 'f') refuse_npy(file.path, "holds '" + file.dtype + "'; labels are integers");
  const std::int64_t count = file.count();
  const bool one_each = !file.shape.empty() && file.shape[0] == count;  // [N], or Keras' [N, 1]
  if (!one_each) refuse_npy(file.path, "has the shape " + shape_of(file) + "; labels are [N]");
  if (count != images)
    refuse_npy(file.path, "holds " + std::to_string(count) + " labels for " + std::to_string(images) + " images");
  const at::Tensor labels = at::empty({count}, at::kLong);
  auto* out = labels.mutable_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < count; ++i) {
    out[i] = integer_at(file, i);
    if (out[i] < 0 || out[i] >= classes) {
      const bool beyond = file.dtype[1] == 'u' && out[i] < 0;
      refuse_npy(file.path, "record " + std::to_string(i) + " (from 0) has label " +
                                (beyond ? std::to_string(static_cast<std::uint64_t>(out[i])) : std::to_string(out[i])) +
                                "; accepted: 0 to " + std::to_string(classes - 1));
    }
  }
  return labels;
}

ImageSet read_set(const fs::path& dir, const std::string& split, std::int64_t classes) {
  const std::string hint = what_lies_in(dir, "npy");
  ImageSet set;
  set.images = images_of(read_npy(dir / (split + "_images.npy"), hint));
  set.labels = labels_of(read_npy(dir / (split + "_labels.npy"), hint), set.images.size(0), classes);
  return set;
}

// One a line; none where the file is absent.
std::vector<std::string> class_names_in(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return {};
  const auto bytes = read_source_file(path);
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::vector<std::string> names;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    std::string name(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (name.ends_with('\r')) name.pop_back();
    if (!name.empty()) names.push_back(std::move(name));
  }
  if (names.empty() || static_cast<std::int64_t>(names.size()) > kMostClasses)
    throw DataError(path.string() + ": holds " + std::to_string(names.size()) + " names; accepted: 1 to " +
                    std::to_string(kMostClasses));
  return names;
}

std::string npy_header(const std::string& dtype, at::IntArrayRef shape) {
  constexpr std::size_t kAlignment = 64, kBefore = kMagic.size() + 4;
  std::string text = "{'descr': '" + dtype + "', 'fortran_order': False, 'shape': (";
  for (const auto size : shape) text += std::to_string(size) + ", ";
  text += "), }";
  text.append(kAlignment - 1 - (kBefore + text.size()) % kAlignment, ' ');
  text += '\n';
  std::string header(kMagic);
  header += {'\1', '\0', static_cast<char>(text.size() & 255), static_cast<char>(text.size() >> 8)};
  return header + text;
}

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

}  // namespace

std::size_t NpyFile::element_bytes() const { return static_cast<std::size_t>(dtype[2] - '0'); }

std::int64_t NpyFile::count() const { return static_cast<std::int64_t>((bytes.size() - data_begin) / element_bytes()); }

NpyFile read_npy(const fs::path& path, const std::string& hint) {
  return parse_npy(read_source_file(path, hint), path.string());
}

Source open_npy(const fs::path& dir) {
  Source source;
  source.class_names = class_names_in(dir / kClassNames);
  const auto named = static_cast<std::int64_t>(source.class_names.size());
  const ImageSet train = read_set(dir, "train", named > 0 ? named : kMostClasses);
  source.classes = named;
  const auto* labels = train.labels.const_data_ptr<std::int64_t>();
  if (named == 0) source.classes = *std::max_element(labels, labels + train.size()) + 1;
  const ImageSet test = read_set(dir, "test", source.classes);
  if (test.images.sizes().slice(1) != train.images.sizes().slice(1))
    throw DataError((dir / "test_images.npy").string() + ": its images are of another shape than the training images");
  source.train = split_of(train);
  source.test = split_of(test);
  return source;
}

void write_npy(const fs::path& dir, const ImageSet& train, const ImageSet& test,
               const std::vector<std::string>& class_names) {
  std::vector<std::string> names = class_names;
  for (auto& name : names)
    std::ranges::replace_if(
        name, [](char c) { return c == '\n' || c == '\r'; }, ' ');
  const std::string lines = lines_of(names);
  const std::string headers[] = {npy_header("|u1", train.images.sizes()), npy_header("<i8", train.labels.sizes()),
                                 npy_header("|u1", test.images.sizes()), npy_header("<i8", test.labels.sizes())};
  const auto file = [&](const char* name, const std::string& header, const at::Tensor& tensor) {
    return NewFile{dir / name, {std::as_bytes(std::span(header)), bytes_of(tensor)}};
  };
  std::vector<NewFile> files{
      file("train_images.npy", headers[0], train.images), file("train_labels.npy", headers[1], train.labels),
      file("test_images.npy", headers[2], test.images), file("test_labels.npy", headers[3], test.labels)};
  if (!names.empty()) files.push_back({dir / kClassNames, {std::as_bytes(std::span(lines))}});
  write_new_files(dir, files);
}

}  // namespace ekd
