#include "ekd/data/folder_report.h"

#include <gmock/gmock.h>

#include <cmath>

#include "ekd/core/error.h"
#include "ekd/core/sha256.h"
#include "tests/data/cifar_folder.h"

namespace ekd {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

class FolderReport : public CifarFolder {
 protected:
  // A record whose red plane is 255 in its first half, 0 in its second; green is 51; blue is 0.
  static std::string plain_record(std::int64_t coarse, std::int64_t fine) {
    std::string bytes(static_cast<std::size_t>(kCifarRecordBytes), '\0');
    bytes[0] = static_cast<char>(coarse);
    bytes[1] = static_cast<char>(fine);
    bytes.replace(2, 512, 512, '\xff');
    bytes.replace(2 + 1024, 1024, 1024, '\x33');
    return bytes;
  }
};

TEST_F(FolderReport, CountsSizesAndStatistics) {
  const std::string train = plain_record(0, 0) + plain_record(0, 1) + plain_record(0, 0);
  write("train.bin", train);
  write("test.bin", plain_record(1, 5));
  const DataFolderReport report = inspect_data_folder(dir_);
  EXPECT_EQ(report.dir, dir_.string());
  EXPECT_EQ(report.train.name, "train.bin");
  EXPECT_EQ(report.train.bytes, 3 * 3074);
  EXPECT_EQ(report.train.records, 3);
  EXPECT_EQ(report.train.sha256, sha256_hex(std::as_bytes(std::span(train))));
  ASSERT_EQ(report.train.class_counts.size(), 100U);
  EXPECT_EQ(report.train.class_counts[0], 2);
  EXPECT_EQ(report.train.class_counts[1], 1);
  EXPECT_EQ(report.train.coarse_counts[0], 3);
  EXPECT_EQ(report.test.records, 1);
  // Red: half 1, half 0: mean .5, std .5. Green: 51 / 255 = .2 throughout.
  EXPECT_DOUBLE_EQ(report.train.mean[0], 0.5);
  EXPECT_DOUBLE_EQ(report.train.std[0], 0.5);
  EXPECT_DOUBLE_EQ(report.train.mean[1], 0.2);
  EXPECT_DOUBLE_EQ(report.train.std[1], 0);
  EXPECT_DOUBLE_EQ(report.train.mean[2], 0);
}

TEST_F(FolderReport, WarnsOfWhatIsUnusual) {
  write("train.bin", plain_record(0, 0) + plain_record(1, 0));
  write("test.bin", plain_record(0, 1));
  const auto warnings = inspect_data_folder(dir_).warnings;
  EXPECT_THAT(warnings, Contains(HasSubstr("2 records where CIFAR-100 has 50000")));
  EXPECT_THAT(warnings, Contains(HasSubstr("fine_label_names.txt: is missing")));
  EXPECT_THAT(warnings, Contains("train.bin: 99 of 100 classes have no record"));
  EXPECT_THAT(warnings, Contains("1 fine labels come with more than one coarse label"));
}

TEST_F(FolderReport, DamageIsAnError) {
  write("train.bin", plain_record(0, 0));
  write("test.bin", plain_record(20, 0));
  EXPECT_THAT(message_of<DataError>([&] { inspect_data_folder(dir_); }), HasSubstr("coarse label 20"));
  EXPECT_THAT(message_of<DataError>([&] { inspect_data_folder(dir_ / "none"); }), HasSubstr("no such file"));
}

}  // namespace
}  // namespace ekd
