#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/sha256.h"
#include "ekd/core/tensor_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace ekd {
namespace {

std::size_t entries(const std::filesystem::path& folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

TEST(AtomicFile, FailedWriteLeavesTheOldFileAndNoTemporary) {
  const test::TemporaryFolder folder;
  write_file_atomically(folder / "f", "old");
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{1000, before.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  EXPECT_ERROR(write_file_atomically(folder / "f", std::string(5000, 'x')), IoError, "5000 bytes needed");
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(test::read_text(folder / "f"), "old");
  EXPECT_EQ(entries(folder.path()), 1U);
}

TEST(AtomicFile, MissingFolderIsAnIoError) {
  const test::TemporaryFolder folder;
  EXPECT_ERROR(write_file_atomically(folder / "absent/f", "x"), IoError, "absent/f: cannot create");
  EXPECT_ERROR(read_file(folder / "absent"), IoError, "cannot open");
  EXPECT_ERROR(read_file(folder.path()), IoError, "is a folder");
}

TEST(AtomicFile, OnlyTemporariesOfDeadProcessesGo) {
  const test::TemporaryFolder folder;
  const std::string own = ".f.tmp." + std::to_string(getpid());
  for (const std::string& name :
       {std::string(".f.tmp.999999999"), own, std::string("f.tmp.999999999"), std::string(".f.tmp.12x")})
    test::write_text(folder / name, "x");
  remove_stale_temporaries(folder.path());
  EXPECT_FALSE(std::filesystem::exists(folder / ".f.tmp.999999999"));
  EXPECT_EQ(entries(folder.path()), 3U);
}

TEST(AtomicFile, TemporariesOfFilesUnderTheLockGoWhileTheirProcessExists) {
  const test::TemporaryFolder folder;
  const std::string other = ".tmp." + std::to_string(getppid()), own = ".tmp." + std::to_string(getpid());
  for (const std::string& name : {".held" + other, ".held" + own, ".free" + other})
    test::write_text(folder / name, "x");
  remove_stale_temporaries(folder.path(), {"held"});
  EXPECT_FALSE(std::filesystem::exists(folder / (".held" + other)));
  EXPECT_EQ(entries(folder.path()), 2U);
}

TEST(AtomicFile, RemovingWhatCannotBeRemovedIsAnIoError) {
  const test::TemporaryFolder folder;
  EXPECT_NO_THROW(remove_file(folder / "absent"));
  EXPECT_ERROR(remove_file(folder.path()), IoError, "cannot remove");
}

TEST(Sha256, KnownAnswers) {  // FIPS 180-4's examples
  EXPECT_EQ(sha256_hex({}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  Sha256 hash;
  hash.update("a");
  hash.update("bc");
  EXPECT_EQ(hash.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

class TensorFileTest : public ::testing::Test {
 protected:
  test::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "t.safetensors";
  at::Tensor floats_ = at::arange(24, at::kFloat).view({2, 3, 2, 2});
};

TEST_F(TensorFileTest, RoundTripsAnyLayoutAndDtype) {
  const at::Tensor last = floats_.contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor half = floats_.to(at::kBFloat16), flag = floats_.gt(3), scalar = at::zeros({}, at::kLong);
  write_tensor_file(path_, {{"last", last}, {"half", half}, {"flag", flag}, {"scalar", scalar}}, {{"kind", "weights"}});
  const TensorFile file = read_tensor_file(path_);
  EXPECT_TRUE(at::equal(file.at("last"), floats_));
  EXPECT_TRUE(at::equal(file.at("half"), half));
  EXPECT_TRUE(at::equal(file.at("flag"), flag));
  EXPECT_EQ(file.at("scalar").dim(), 0);
  EXPECT_ERROR(file.at("absent"), WeightsError, "'absent' is missing");
}

TEST_F(TensorFileTest, CopyConvertsFloatsAndKeepsTheLiveLayout) {
  write_tensor_file(path_, {{"m.w", floats_.to(at::kHalf)}, {"other", floats_}}, {{"kind", "weights"}});
  const at::Tensor live = at::zeros({2, 3, 2, 2}).contiguous(at::MemoryFormat::ChannelsLast);
  copy_into({{"w", live}}, read_tensor_file(path_), "m.");
  EXPECT_TRUE(at::equal(live, floats_));
  EXPECT_TRUE(live.is_contiguous(at::MemoryFormat::ChannelsLast));
}

TEST_F(TensorFileTest, MisfitsAreListedAndNothingChanges) {
  write_tensor_file(path_, {{"a", floats_}, {"b", floats_}, {"n", floats_}}, {{"kind", "weights"}});
  const at::Tensor a = at::zeros({2, 3, 2, 2}), b = at::zeros({5}), n = at::zeros({2, 3, 2, 2}, at::kLong),
                   c = at::zeros({1});
  const TensorFile file = read_tensor_file(path_);
  EXPECT_ERROR(copy_into({{"a", a}, {"c", c}}, file), WeightsError, "missing: c; unexpected: b, n");
  EXPECT_ERROR(copy_into({{"a", a}, {"b", b}, {"n", n}}, file), WeightsError,
               "b (Float [2, 3, 2, 2], expected Float [5])");
  EXPECT_ERROR(copy_into({{"a", a}, {"b", b}, {"n", n}}, file), WeightsError,
               "n (Float [2, 3, 2, 2], expected Long [2, 3, 2, 2])");
  EXPECT_EQ(a.sum().item<float>(), 0);
}

TEST(Sha1, OfThePublishedExample) {  // FIPS 180: "abc"
  const std::string text = "abc";
  EXPECT_EQ(sha1_hex(std::as_bytes(std::span(text))), "a9993e364706816aba3e25717850c26c9cd0d89d");
}

}  // namespace
}  // namespace ekd
