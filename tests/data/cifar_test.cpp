#include "data/cifar.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "tests/data/cifar_folder.h"

namespace ekd {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

class CifarFileTest : public CifarFolder {
 protected:
  std::string data_error(const std::filesystem::path& path) {
    return message_of<DataError>([&] { read_cifar_file(path, kCifarTrainRecords, warnings_); });
  }
  std::vector<std::string> warnings_;
};

TEST_F(CifarFileTest, ReadsLabelsAndPixels) {
  const auto path = write("train.bin", record(3, 17, 5) + record(19, 99, 200));
  const CifarFile file = read_cifar_file(path, 2, warnings_);
  ASSERT_EQ(file.size(), 2);
  EXPECT_EQ(file.coarse_label(0), 3);
  EXPECT_EQ(file.label(0), 17);
  EXPECT_EQ(file.label(1), 99);
  EXPECT_THAT(warnings_, IsEmpty());

  const std::vector<std::int64_t> rows{1, 0, 1};
  const ImageSet set = gather_records(file, rows);
  EXPECT_EQ(set.images.sizes(), (std::vector<std::int64_t>{3, 3, 32, 32}));
  EXPECT_THAT(std::vector<std::int64_t>(set.labels.const_data_ptr<std::int64_t>(),
                                        set.labels.const_data_ptr<std::int64_t>() + 3),
              ElementsAre(99, 17, 99));
  // Pixel k of a record is (first + k) mod 256; green, row 2, column 3 is k = 1024 + 2 * 32 + 3 = 1091.
  const auto* pixels = set.images.const_data_ptr<std::uint8_t>();
  EXPECT_EQ(pixels[kCifarImageBytes + 1091], (5 + 1091) % 256);
  EXPECT_EQ(pixels[1091], (200 + 1091) % 256);
}

TEST_F(CifarFileTest, MissingFileSaysHowToGetIt) {
  EXPECT_THAT(data_error(dir_ / "train.bin"),
              AllOf(HasSubstr((dir_ / "train.bin").string() + ": no such file"), HasSubstr("scripts/get_cifar100.sh"),
                    HasSubstr("--dataset synthetic")));
}

TEST_F(CifarFileTest, FolderOrPipeInsteadOfAFile) {
  EXPECT_THAT(data_error(dir_), HasSubstr("is not a regular file"));
  ASSERT_EQ(::mkfifo((dir_ / "pipe").c_str(), 0600), 0);  // opening it would wait for a writer for ever
  EXPECT_THAT(data_error(dir_ / "pipe"), HasSubstr("is not a regular file"));
}

// A name longer than a file system takes: the system refuses to look, which is no fault of the data.
TEST_F(CifarFileTest, RefusalOfTheOperatingSystem) {
  const auto path = dir_ / std::string(300, 'x');
  EXPECT_THAT(message_of<IoError>([&] { read_cifar_file(path, 1, warnings_); }), HasSubstr("x: cannot read: "));
}

TEST_F(CifarFileTest, EmptyFile) {
  EXPECT_THAT(data_error(write("test.bin", "")),
              HasSubstr("test.bin: is empty; accepted: whole records of 3074 bytes"));
}

TEST_F(CifarFileTest, SizesThatAreNoWholeRecords) {
  EXPECT_THAT(data_error(write("a", record(0, 0) + "x")),
              HasSubstr("3075 bytes are 1 records and 1 bytes; accepted: whole records of 3074 bytes, at least one"));
  EXPECT_THAT(data_error(write("b", record(0, 0).substr(1))),
              HasSubstr("3073 bytes are 1 records of CIFAR-10 (3073 bytes)"));
  EXPECT_THAT(data_error(write("c", record(0, 0).substr(2))), HasSubstr("3072 bytes are 0 records and 3072 bytes"));
}

TEST_F(CifarFileTest, LabelsOutOfRangeNameRecordAndValue) {
  EXPECT_THAT(data_error(write("a", record(19, 99) + record(20, 0))),
              EndsWith("a: record 1 (from 0) has coarse label 20; accepted: 0 to 19"));
  EXPECT_THAT(data_error(write("b", record(0, 1) + record(0, 2) + record(0, 255))),
              EndsWith("b: record 2 (from 0) has fine label 255; accepted: 0 to 99"));
  EXPECT_THAT(data_error(write("c", record(0, 100))), EndsWith("fine label 100; accepted: 0 to 99"));
}

TEST_F(CifarFileTest, UnusualWholeSizeWarns) {
  read_cifar_file(write("train.bin", record(0, 0)), kCifarTrainRecords, warnings_);
  EXPECT_THAT(warnings_, ElementsAre(EndsWith("train.bin: 1 records where CIFAR-100 has 50000; taken as they are")));
}

// Every byte of small files takes every kind of value: an error of ours or a file with labels in range, nothing else.
TEST_F(CifarFileTest, HostileBytesNeverPassUnchecked) {
  const std::string good = records({0, 99});
  int refused = 0;
  for (const std::size_t place : {0, 1, 2, 3073, 3074, 3075, 6147}) {
    for (int value = 0; value < 256; ++value) {
      std::string bytes = good;
      bytes[place] = static_cast<char>(value);
      const auto path = write("hostile.bin", bytes);
      try {
        const CifarFile file = read_cifar_file(path, 2, warnings_);
        for (std::int64_t i = 0; i < 2; ++i) EXPECT_LT(file.label(i), 100);
      } catch (const DataError&) {
        ++refused;
      }
    }
  }
  // Two coarse labels with 236 bad values each, two fine labels with 156.
  EXPECT_EQ(refused, 2 * 236 + 2 * 156);
}

TEST_F(CifarFileTest, NamesAreOnePerLine) {
  EXPECT_THAT(read_label_names(write("names", "a\nb\r\n\nc\n\n"), 3, warnings_), ElementsAre("a", "b", "c"));
  EXPECT_THAT(read_label_names(dir_ / "absent", 3, warnings_), IsEmpty());
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(CifarFileTest, NamesOfAnotherCountAreLeftOutWithAWarning) {
  EXPECT_THAT(read_label_names(write("few", "a\nb\n"), 3, warnings_), IsEmpty());
  EXPECT_THAT(read_label_names(write("many", "a\nb\nc\nd\n"), 3, warnings_), IsEmpty());
  EXPECT_THAT(read_label_names(dir_, 3, warnings_), IsEmpty());  // a folder
  EXPECT_THAT(warnings_, ElementsAre(HasSubstr("few: does not hold 3 names"), HasSubstr("many: does not hold 3 names"),
                                     HasSubstr("does not hold 3 names")));
}

class WriteCifar : public CifarFolder {
 protected:
  static ImageSet set_of(const std::vector<std::int64_t>& labels) {
    const std::string bytes = records(labels);
    const auto view = std::as_bytes(std::span(bytes));
    std::vector<std::int64_t> rows(labels.size());
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int64_t>(i);
    return gather_records(CifarFile({view.begin(), view.end()}), rows);
  }
  void write_set(const std::vector<std::int64_t>& train) const {
    write_cifar100(dir_ / "new" / "set", set_of(train), set_of({7}), std::vector<std::string>(100, "n"),
                   std::vector<std::string>(20, "g"));
  }
  std::string bytes_of(const std::string& name) const {
    const auto bytes = read_file(dir_ / "new" / "set" / name);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
};

TEST_F(WriteCifar, CoarseIsAFifthOfFine) {
  write_set({99, 4, 5});
  EXPECT_EQ(bytes_of("train.bin"), record(19, 99, 0) + record(0, 4, 1) + record(1, 5, 2));
  EXPECT_EQ(bytes_of("test.bin"), record(1, 7, 0));
  EXPECT_EQ(bytes_of("coarse_label_names.txt").size(), 40U);
  const auto entries = std::distance(std::filesystem::directory_iterator(dir_ / "new" / "set"), {});
  EXPECT_EQ(entries, 4);  // no temporaries
}

TEST_F(WriteCifar, RepeatsButNeverReplacesOtherFiles) {
  write_set({1, 2});
  EXPECT_NO_THROW(write_set({1, 2}));
  EXPECT_THAT(message_of<UsageError>([&] { write_set({1, 3}); }), HasSubstr("train.bin: is there already with other"));
  EXPECT_EQ(bytes_of("train.bin"), records({1, 2}));
}

TEST_F(WriteCifar, UnwritableFolder) {
  write("new", "a file where a folder should be");
  EXPECT_THAT(message_of<IoError>([&] { write_set({1}); }), StartsWith((dir_ / "new").string()));
}

}  // namespace
}  // namespace ekd
