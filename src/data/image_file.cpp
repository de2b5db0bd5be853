// libpng and libjpeg report errors by longjmp, which skips destructors: between setjmp and the jump no function here
// holds an object that has one. What owns memory lives in the caller.
#include "ekd/data/image_file.h"

#include <ATen/ops/empty.h>
#include <png.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <jpeglib.h>  // needs stdio before it

#include "data/source_file.h"
#include "ekd/core/error.h"
#include "ekd/kernels/views.h"

namespace ekd {
namespace {

namespace fs = std::filesystem;

// No file holds more than so many bytes of pixels a byte: deflate's longest match, and a bit for a JPEG's block of 64
// pixels in each of three channels.
constexpr std::int64_t kMostPngBytes = 1040, kMostJpegBytes = 3 * 64 * 8;

using Message = std::array<char, JMSG_LENGTH_MAX>;

// Pixel by pixel, channel after channel within each, as both libraries deliver them.
struct Pixels {
  std::int64_t height = 0, width = 0, channels = 0;
  std::vector<std::uint8_t> bytes;

  void allocate() { bytes.resize(static_cast<std::size_t>(height * width * channels)); }
  std::uint8_t* row(std::int64_t y) { return bytes.data() + y * width * channels; }
};

[[noreturn]] void refuse(const fs::path& path, const std::string& what) {
  throw DataError(path.string() + ": " + what);
}

// A header may claim anything; no memory is taken before its claim is plausible.
void check_claim(const fs::path& path, std::int64_t height, std::int64_t width, std::int64_t bytes_of_pixels,
                 std::int64_t most) {
  const std::string claims = "claims " + std::to_string(width) + "×" + std::to_string(height) + " pixels";
  if (std::min(height, width) < 1 || std::max(height, width) > kLargestImageSide)
    refuse(path, claims + "; accepted: sides of 1 to " + std::to_string(kLargestImageSide));
  if (bytes_of_pixels > most) refuse(path, claims + ", which its few bytes cannot hold");
}

// [height, width, channels] → uint8 [kept, height, width], the first `kept` channels.
at::Tensor planes(const Pixels& pixels, std::int64_t kept) {
  const at::Tensor image = at::empty({kept, pixels.height, pixels.width}, at::kByte);
  auto* out = image.mutable_data_ptr<std::uint8_t>();
  const std::int64_t count = pixels.height * pixels.width;
  for (std::int64_t channel = 0; channel < kept; ++channel) {
    const std::uint8_t* in = pixels.bytes.data() + channel;
    for (std::int64_t i = 0; i < count; ++i, in += pixels.channels) *out++ = *in;
  }
  return image;
}

class PngFile {
 public:
  explicit PngFile(std::span<const std::byte> bytes) : rest_(bytes) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    info_ = png_ == nullptr ? nullptr : png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw MemoryError("not enough memory to read a PNG file");
    }
    constexpr png_alloc_size_t kLargestChunk = 1 << 20;  // of text and profiles, which are packed too
    png_set_chunk_malloc_max(png_, kLargestChunk);
    png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // check_claim says it better
    png_set_read_fn(png_, this, read);
  }
  ~PngFile() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngFile(const PngFile&) = delete;
  PngFile& operator=(const PngFile&) = delete;

  const char* message() const { return message_.data(); }
  std::int64_t height() const { return png_get_image_height(png_, info_); }
  std::int64_t width() const { return png_get_image_width(png_, info_); }
  std::int64_t row_bytes() const { return static_cast<std::int64_t>(png_get_rowbytes(png_, info_)); }
  std::int64_t channels() const { return png_get_channels(png_, info_); }

  bool read_header() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_read_info(png_, info_);
    return true;
  }

  // From now on rows have 8 bits a channel: grey, grey and alpha, RGB, or RGB and alpha.
  bool set_eight_bits() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_expand(png_);  // palettes, grey of less than 8 bits, a transparent colour
    png_set_scale_16(png_);
    png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    return true;
  }

  // The rows, and what comes behind them: a file without its end is cut short.
  bool read_rows(png_bytep* rows) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_read_image(png_, rows);
    png_read_end(png_, nullptr);
    return true;
  }

 private:
  [[noreturn]] static void on_error(png_structp png, png_const_charp text) {
    Message& message = static_cast<PngFile*>(png_get_error_ptr(png))->message_;
    std::snprintf(message.data(), message.size(), "%s", text);
    png_longjmp(png, 1);
  }
  static void on_warning(png_structp, png_const_charp) {}  // of chunks that pixels do not depend on

  static void read(png_structp png, png_bytep out, std::size_t size) {
    auto& rest = static_cast<PngFile*>(png_get_io_ptr(png))->rest_;
    if (size > rest.size()) png_error(png, "it is cut short");
    std::memcpy(out, rest.data(), size);
    rest = rest.subspan(size);
  }

  std::span<const std::byte> rest_;
  Message message_{};
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

at::Tensor read_png(const fs::path& path, std::span<const std::byte> bytes) {
  PngFile file(bytes);
  const auto require = [&](bool done) {
    if (!done) refuse(path, std::string("damaged PNG: ") + file.message());
  };
  require(file.read_header());
  check_claim(path, file.height(), file.width(), file.height() * file.row_bytes(),
              kMostPngBytes * static_cast<std::int64_t>(bytes.size()));
  require(file.set_eight_bits());
  Pixels pixels{file.height(), file.width(), file.channels(), {}};
  pixels.allocate();
  std::vector<png_bytep> rows;
  for (std::int64_t y = 0; y < pixels.height; ++y) rows.push_back(pixels.row(y));
  require(file.read_rows(rows.data()));
  if (pixels.channels % 2 == 1) return planes(pixels, pixels.channels);
  const std::int64_t colours = pixels.channels - 1;
  for (std::size_t i = static_cast<std::size_t>(colours); i < pixels.bytes.size();
       i += static_cast<std::size_t>(pixels.channels))
    if (pixels.bytes[i] != 255) refuse(path, "has transparent pixels; put it on a background first");
  return planes(pixels, colours);
}

class JpegFile {
 public:
  explicit JpegFile(std::span<const std::byte> bytes) : bytes_(bytes) {
    jpeg_.err = jpeg_std_error(&errors_);
    jpeg_.client_data = this;
    errors_.error_exit = on_error;
    errors_.emit_message = [](j_common_ptr jpeg, int level) {
      if (level < 0) on_error(jpeg);  // a warning: the pixels are not what was written
    };
  }
  ~JpegFile() { jpeg_destroy_decompress(&jpeg_); }
  JpegFile(const JpegFile&) = delete;
  JpegFile& operator=(const JpegFile&) = delete;

  const char* message() const { return message_.data(); }
  std::int64_t height() const { return jpeg_.image_height; }
  std::int64_t width() const { return jpeg_.image_width; }
  J_COLOR_SPACE colours() const { return jpeg_.jpeg_color_space; }

  bool read_header() {
    if (setjmp(jump_) != 0) return false;
    jpeg_create_decompress(&jpeg_);
    jpeg_mem_src(&jpeg_, reinterpret_cast<const unsigned char*>(bytes_.data()), bytes_.size());
    jpeg_read_header(&jpeg_, TRUE);
    return true;
  }

  // One row after another from `out` on.
  bool read_rows(JSAMPLE* out, J_COLOR_SPACE as) {
    if (setjmp(jump_) != 0) return false;
    jpeg_.out_color_space = as;
    jpeg_start_decompress(&jpeg_);
    while (jpeg_.output_scanline < jpeg_.output_height) {
      JSAMPROW row = out + std::size_t{jpeg_.output_scanline} * jpeg_.output_width *
                               static_cast<std::size_t>(jpeg_.output_components);
      jpeg_read_scanlines(&jpeg_, &row, 1);
    }
    jpeg_finish_decompress(&jpeg_);
    return true;
  }

 private:
  [[noreturn]] static void on_error(j_common_ptr jpeg) {
    auto* file = static_cast<JpegFile*>(jpeg->client_data);
    jpeg->err->format_message(jpeg, file->message_.data());
    std::longjmp(file->jump_, 1);
  }

  std::span<const std::byte> bytes_;
  Message message_{};
  std::jmp_buf jump_{};
  jpeg_error_mgr errors_{};
  jpeg_decompress_struct jpeg_{};
};

at::Tensor read_jpeg(const fs::path& path, std::span<const std::byte> bytes) {
  JpegFile file(bytes);
  const auto require = [&](bool done) {
    if (!done) refuse(path, std::string("damaged JPEG: ") + file.message());
  };
  require(file.read_header());
  const bool grey = file.colours() == JCS_GRAYSCALE;
  if (!grey && file.colours() != JCS_YCbCr && file.colours() != JCS_RGB)
    refuse(path, "is a JPEG of other colours than grey and RGB, as CMYK; convert it first");
  Pixels pixels{file.height(), file.width(), grey ? 1 : 3, {}};
  check_claim(path, pixels.height, pixels.width, pixels.height * pixels.width * pixels.channels,
              kMostJpegBytes * static_cast<std::int64_t>(bytes.size()));
  pixels.allocate();
  require(file.read_rows(pixels.row(0), grey ? JCS_GRAYSCALE : JCS_RGB));
  return planes(pixels, pixels.channels);
}

bool starts_with(std::span<const std::byte> bytes, std::span<const unsigned char> signature) {
  return bytes.size() >= signature.size() && std::memcmp(bytes.data(), signature.data(), signature.size()) == 0;
}

}  // namespace

at::Tensor read_image_file(const fs::path& path) {
  constexpr unsigned char kPng[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'}, kJpeg[] = {0xff, 0xd8, 0xff};
  const std::vector<std::byte> bytes = read_source_file(path);
  if (starts_with(bytes, kPng)) return read_png(path, bytes);
  if (starts_with(bytes, kJpeg)) return read_jpeg(path, bytes);
  refuse(path, bytes.empty() ? "is empty; accepted: PNG and JPEG files" : "is neither a PNG nor a JPEG file");
}

std::string lower_extension(const fs::path& path) {
  std::string ending = path.extension().string();
  std::ranges::transform(ending, ending.begin(), [](unsigned char c) { return std::tolower(c); });
  return ending;
}

bool is_image_name(const fs::path& path) {
  const std::string ending = lower_extension(path);
  return ending == ".png" || ending == ".jpg" || ending == ".jpeg";
}

}  // namespace ekd
