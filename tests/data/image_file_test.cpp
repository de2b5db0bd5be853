// Pixels as Pillow reads them, from files that Pillow wrote; and what is refused. Damage of every kind is the fault
// campaign's.
#include "ekd/data/image_file.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>

#include "ekd/core/error.h"
#include "ekd/core/tensor_file.h"
#include "tests/data/cifar_folder.h"

namespace ekd {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class ImageFiles : public CifarFolder {
 protected:
  std::string golden(const std::string& name) const {
    const at::Tensor& bytes = file_.at(name);
    return {static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes()};
  }
  std::string refusal(const std::string& content) const {
    const auto path = write("image", content);
    const std::string message = message_of<DataError>([&] { read_image_file(path); });
    EXPECT_THAT(message, StartsWith(path.string() + ": "));
    return message;
  }
  // A PNG's header with this size, its checksum as zlib's.
  static std::string claiming(std::string png, std::uint32_t width, std::uint32_t height) {
    const auto put = [&](std::size_t at, std::uint32_t value) {
      for (int byte = 0; byte < 4; ++byte)
        png[at + static_cast<std::size_t>(byte)] = static_cast<char>(value >> (24 - 8 * byte));
    };
    put(16, width);
    put(20, height);
    std::uint32_t crc = ~0U;
    for (std::size_t i = 12; i < 29; ++i) {
      crc ^= static_cast<std::uint8_t>(png[i]);
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320U : 0);
    }
    put(29, ~crc);
    return png;
  }

  TensorFile file_ = read_tensor_file(EKD_GOLDEN_DIR "/image_files.safetensors");
};

TEST_F(ImageFiles, PixelsAreThoseThatPillowReads) {
  int images = 0;
  for (const auto& [name, bytes] : file_.tensors) {
    const at::Tensor* expected = file_.find(name + ".pixels");
    if (expected == nullptr) continue;
    const at::Tensor image = read_image_file(write(name, golden(name)));
    EXPECT_TRUE(image.is_contiguous());
    EXPECT_TRUE(at::equal(image, *expected)) << name << " " << image.sizes();
    ++images;
  }
  EXPECT_EQ(images, 10);
}

TEST_F(ImageFiles, WhatIsCutShortIsRefused) {
  for (const std::string name : {"rgb.png", "palette.png", "rgb.jpeg", "progressive.jpeg", "grey.jpeg"}) {
    const std::string whole = golden(name);
    for (std::size_t size = 0; size < whole.size(); ++size)
      EXPECT_NE(refusal(whole.substr(0, size)), "") << name << " cut to " << size;
  }
  EXPECT_THAT(refusal(golden("rgb.png").substr(0, 300)), HasSubstr("damaged PNG: it is cut short"));
  EXPECT_THAT(refusal(golden("rgb.jpeg").substr(0, 700)), HasSubstr("damaged JPEG: Premature end of JPEG file"));
}

TEST_F(ImageFiles, WhatIsNoPictureOfThisKindIsNamed) {
  EXPECT_THAT(refusal(""), HasSubstr("is empty"));
  EXPECT_THAT(refusal("GIF89a"), HasSubstr("is neither a PNG nor a JPEG file"));
  EXPECT_THAT(refusal(golden("transparent.png")), HasSubstr("transparent pixels"));
  EXPECT_THAT(refusal(golden("cmyk.jpeg")), HasSubstr("CMYK"));
  EXPECT_THAT(message_of<DataError>([&] { read_image_file(dir_); }), HasSubstr("not a regular file"));
  EXPECT_THAT(message_of<DataError>([&] { read_image_file(dir_ / "none"); }), HasSubstr("no such file"));
}

TEST_F(ImageFiles, HeadersThatClaimTooMuchTakeNoMemory) {
  const std::string png = golden("rgb.png");
  EXPECT_EQ(claiming(png, 20, 24), png);
  EXPECT_THAT(refusal(claiming(png, 1'000'000'000, 1'000'000'000)),
              HasSubstr("claims 1000000000×1000000000 pixels; accepted: sides of 1 to 8192"));
  EXPECT_THAT(refusal(claiming(png, 8192, 8192)), HasSubstr("which its few bytes cannot hold"));
}

}  // namespace
}  // namespace ekd
