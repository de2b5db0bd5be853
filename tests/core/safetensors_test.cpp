#include "core/safetensors.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "ekd/core/error.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace ekd {
namespace {

std::vector<std::byte> to_bytes(const std::string& text) {
  const auto span = std::as_bytes(std::span(text));
  return {span.begin(), span.end()};
}

// A file of this header and `data_size` zeros.
std::vector<std::byte> file_of(const std::string& header, std::size_t data_size) {
  const std::uint64_t length = header.size();
  std::string text(8, '\0');
  std::memcpy(text.data(), &length, 8);
  return to_bytes(text + header + std::string(data_size, '\0'));
}

std::string tensor(const std::string& dtype, const std::string& shape, std::uint64_t begin, std::uint64_t end) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":[)" + std::to_string(begin) + "," +
         std::to_string(end) + "]}";
}

TEST(Safetensors, ReadsAFileOfAnotherTool) {
  // Header order differs from data order; a scalar has one element; an empty tensor takes no bytes.
  const auto file =
      parse_safetensors(file_of(R"({"b":)" + tensor("I64", "[]", 8, 16) + R"(,"a":)" + tensor("F32", "[2,1]", 0, 8) +
                                    R"(,"e":)" + tensor("U8", "[0,7]", 16, 16) + "}",
                                16),
                        "x");
  ASSERT_EQ(file.tensors.size(), 3U);
  EXPECT_EQ(file.tensors[0].name, "a");
  EXPECT_EQ(file.tensors[0].shape, (std::vector<std::int64_t>{2, 1}));
  EXPECT_EQ(file.tensors[1].dtype, DType::kI64);
  EXPECT_EQ(file.data(file.tensors[1]).size(), 8U);
  EXPECT_TRUE(own_metadata(file).is_null());
}

TEST(Safetensors, ReadsBesideWhatItHasNoDtypeFor) {
  const auto file =
      parse_safetensors(file_of(R"({"__metadata__":null,"a":)" + tensor("U16", "[2]", 0, 4) + R"(,"b":)" +
                                    tensor("F128", "[7]", 4, 9) + R"(,"c":)" + tensor("F32", "[1]", 9, 13) + "}",
                                13),
                        "x");
  ASSERT_EQ(file.tensors.size(), 3U);
  EXPECT_TRUE(file.metadata.empty());
  EXPECT_EQ(file.tensors[0].dtype, DType::kOther);
  EXPECT_EQ(file.tensors[0].stated_dtype, "U16");
  EXPECT_EQ(file.tensors[1].stated_dtype, "F128");
  EXPECT_EQ(file.tensors[2].dtype, DType::kF32);
}

struct BadFile {
  const char* name;
  std::vector<std::byte> bytes;
  const char* message;
};

TEST(Safetensors, RejectsEveryBrokenRule) {
  std::string deep = R"({"a":)";
  for (int i = 0; i < 100'000; ++i) deep += '[';
  const std::string good = tensor("F32", "[2]", 0, 8);
  const std::vector<BadFile> bad = {
      {"empty", {}, "too short"},
      {"no header", to_bytes("1234567"), "too short"},
      {"huge header", to_bytes(std::string(8, '\xff')), "not a safetensors file"},
      {"truncated header", file_of(R"({"a":)" + good + "}", 8), "shorter than its header"},
      {"not an object", file_of("[1]     ", 0), "not a safetensors file"},
      {"broken JSON", file_of("{\"a\":", 0), "damaged"},
      {"duplicate key", file_of(R"({"a":)" + good + R"(,"a":)" + good + "}", 8), "stands twice"},
      {"depth bomb", file_of(deep, 0), "deep"},
      {"wrong size of another tool's dtype", file_of(R"({"a":)" + tensor("U16", "[3]", 0, 8) + "}", 8), "need 6"},
      {"overflow of an unknown dtype", file_of(R"({"a":)" + tensor("F128", "[4294967296,4294967296]", 0, 8) + "}", 8),
       "overflows"},
      {"NUL", file_of(std::string("{}\0 and more", 12), 0), "NUL"},
      {"negative size", file_of(R"({"a":)" + tensor("F32", "[-2]", 0, 8) + "}", 8), "whole numbers"},
      {"fractional size", file_of(R"({"a":)" + tensor("F32", "[2.0]", 0, 8) + "}", 8), "whole numbers"},
      {"overflow", file_of(R"({"a":)" + tensor("F32", "[4294967296,4294967296]", 0, 8) + "}", 8), "overflows"},
      {"wrong size", file_of(R"({"a":)" + tensor("F32", "[3]", 0, 8) + "}", 8), "need 12"},
      {"outside", file_of(R"({"a":)" + good + "}", 4), "outside the data"},
      {"backwards", file_of(R"({"a":)" + tensor("F32", "[0]", 8, 0) + "}", 8), "outside the data"},
      {"overlap", file_of(R"({"a":)" + good + R"(,"b":)" + tensor("F32", "[2]", 4, 12) + "}", 12), "overlaps"},
      {"gap", file_of(R"({"a":)" + good + R"(,"b":)" + tensor("F32", "[1]", 12, 16) + "}", 16), "gap"},
      {"bytes left", file_of(R"({"a":)" + good + "}", 9), "belong to no tensor"},
      {"extra field", file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", 8), "exactly"},
      {"metadata number", file_of(R"({"__metadata__":{"a":1}})", 0), "not a string"},
      {"metadata list", file_of(R"({"__metadata__":[]})", 0), "not an object"},
  };
  for (auto file : bad) {
    SCOPED_TRACE(file.name);
    if (std::string(file.name) == "truncated header") file.bytes.resize(12);
    EXPECT_ERROR(parse_safetensors(file.bytes, "some.file"), WeightsError, file.message);
  }
}

class OwnFile : public ::testing::Test {
 protected:
  OwnFile() {
    write_safetensors(path_, {{"a", DType::kF32, {4}, std::as_bytes(std::span(values_))}},
                      {{"kind", "weights"}, {"model", "m"}});
    const std::string text = test::read_text(path_);
    bytes_ = to_bytes(text);
  }
  test::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "w.safetensors";
  std::vector<float> values_{1, 2, 3, 4};
  std::vector<std::byte> bytes_;
};

TEST_F(OwnFile, RoundTrips) {
  const auto file = read_safetensors(path_);
  ASSERT_EQ(file.tensors.size(), 1U);
  EXPECT_EQ(std::memcmp(file.data(file.tensors[0]).data(), values_.data(), 16), 0);
  EXPECT_EQ(own_metadata(file)["model"], "m");
  EXPECT_EQ(file.metadata.at("format"), "pt");
}

TEST_F(OwnFile, EveryFlippedBitIsDetected) {
  for (std::size_t at = 0; at < bytes_.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      auto damaged = bytes_;
      damaged[at] ^= std::byte{1} << bit;
      EXPECT_THROW(parse_safetensors(damaged, "f"), WeightsError) << "byte " << at << ", bit " << bit;
    }
  }
}

TEST_F(OwnFile, EveryTruncationIsDetected) {
  for (std::size_t size = 0; size < bytes_.size(); ++size)
    EXPECT_THROW(parse_safetensors({bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(size)}, "f"),
                 WeightsError)
        << size;
}

TEST_F(OwnFile, NewerFormatIsRefusedByName) {
  const std::string own = R"({\"format_version\":2,\"kind\":\"weights\",\"sha256\":\"00\"})";
  EXPECT_ERROR(parse_safetensors(file_of(R"({"__metadata__":{"ekd":")" + own + R"("}})", 0), "f"), WeightsError,
               "format version 2");
}

}  // namespace
}  // namespace ekd
