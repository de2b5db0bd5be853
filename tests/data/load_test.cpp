#include "ekd/data/load.h"

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>

#include "ekd/core/error.h"
#include "ekd/data/synthetic.h"
#include "tests/data/logged_folder.h"

namespace ekd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class LoadDataset : public LoggedFolder {
 protected:
  void SetUp() override {
    LoggedFolder::SetUp();
    write("train.bin", records({0, 1, 2, 0, 1, 2, 0, 1}));
    write("test.bin", records({2, 1, 0}));
    config_.dir = dir_.string();
  }
  Dataset load() const { return load_dataset(config_); }

  DataConfig config_;
};

TEST_F(LoadDataset, AppliesTheSettings) {
  config_.classes = 2;      // training rows 0 1 3 4 6 7
  config_.val_size = 2;     // rows 6 7
  config_.train_limit = 3;  // rows 0 1 3
  config_.test_limit = 1;   // row 1
  const Dataset data = load();
  EXPECT_EQ(data.name, "cifar100");
  EXPECT_EQ(data.classes, 2);
  ASSERT_EQ(data.train.size(), 3);
  ASSERT_EQ(data.val.size(), 2);
  ASSERT_EQ(data.test.size(), 1);
  // A record's first pixel is its number in the file.
  EXPECT_EQ(data.train.images[2][0][0][0].item<int>(), 3);
  EXPECT_EQ(data.val.images[0][0][0][0].item<int>(), 6);
  EXPECT_EQ(data.test.images[0][0][0][0].item<int>(), 1);
  EXPECT_EQ(data.test.labels[0].item<int>(), 1);
  EXPECT_TRUE(data.train.images.is_contiguous());
}

TEST_F(LoadDataset, UnusualSizesAndNamesWarn) {
  write("fine_label_names.txt", "apple\n");
  EXPECT_THAT(load().class_names, IsEmpty());
  EXPECT_THAT(log_.str(), HasSubstr("train.bin: 8 records where CIFAR-100 has 50000"));
  EXPECT_THAT(log_.str(), HasSubstr("test.bin: 3 records where CIFAR-100 has 10000"));
  EXPECT_THAT(log_.str(), HasSubstr("fine_label_names.txt: does not hold 100 names"));
}

TEST_F(LoadDataset, NamesOfTheKeptClasses) {
  std::string names;
  for (int i = 0; i < 100; ++i) names += "name" + std::to_string(i) + "\n";
  write("fine_label_names.txt", names);
  config_.classes = 2;
  EXPECT_THAT(load().class_names, ElementsAre("name0", "name1"));
  config_.classes = 0;
  EXPECT_EQ(load().class_names.size(), 100U);
}

TEST_F(LoadDataset, DigestFollowsWhatWasKept) {
  const std::string all = load().sha256;
  EXPECT_EQ(all.size(), 64U);
  EXPECT_EQ(load().sha256, all);

  config_.val_size = 1;
  const std::string held_out = load().sha256;
  EXPECT_NE(held_out, all);

  config_.val_size = 0;
  config_.train_limit = 7;
  const std::string limited = load().sha256;
  EXPECT_NE(limited, all);
  // The eighth record is not used: changing it changes nothing.
  write("train.bin", records({0, 1, 2, 0, 1, 2, 0}) + record(0, 3, 77));
  EXPECT_EQ(load().sha256, limited);
  // One bit of one pixel, or one label, that is used.
  std::string bytes = records({0, 1, 2, 0, 1, 2, 0, 1});
  bytes[2000] ^= 1;
  write("train.bin", bytes);
  EXPECT_NE(load().sha256, limited);
  write("train.bin", records({1, 1, 2, 0, 1, 2, 0, 1}));
  EXPECT_NE(load().sha256, limited);
}

TEST_F(LoadDataset, RefusesDamageInEitherFile) {
  write("test.bin", record(0, 100));
  EXPECT_THAT(message_of<DataError>([&] { load(); }), HasSubstr("test.bin: record 0 (from 0) has fine label 100"));
  std::filesystem::remove(dir_ / "test.bin");
  EXPECT_THAT(message_of<DataError>([&] { load(); }), HasSubstr("test.bin: no such file"));
}

TEST_F(LoadDataset, UnknownDataset) {
  config_.dataset = "cifar";
  EXPECT_THAT(message_of<UsageError>([&] { load(); }), HasSubstr("accepted: cifar100, "));
}

TEST_F(LoadDataset, WrittenSyntheticSetIsTheBuiltInOne) {
  write_synthetic(dir_ / "synthetic");
  config_.dir = (dir_ / "synthetic").string();
  config_.val_size = 500;
  const Dataset from_files = load();
  config_.dataset = "synthetic";
  const Dataset built_in = load();
  EXPECT_EQ(from_files.sha256, built_in.sha256);
  EXPECT_EQ(from_files.class_names, built_in.class_names);
  EXPECT_TRUE(at::equal(from_files.train.images, built_in.train.images));
  EXPECT_TRUE(at::equal(from_files.val.labels, built_in.val.labels));
  EXPECT_TRUE(at::equal(from_files.test.images, built_in.test.images));
  EXPECT_EQ(built_in.name, "synthetic");
}

}  // namespace
}  // namespace ekd
