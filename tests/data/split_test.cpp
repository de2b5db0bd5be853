#include "ekd/data/load.h"

#include <gmock/gmock.h>

#include "ekd/core/error.h"
#include "tests/data/cifar_folder.h"

namespace ekd {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::vector<std::int64_t> kTrain{0, 1, 2, 0, 1, 2, 0, 1, 2, 0};
const std::vector<std::int64_t> kTest{2, 1, 0, 2, 1, 0};

SplitRows split(const DataConfig& config) { return split_rows(kTrain, kTest, 3, config); }

TEST(Split, EverythingByDefault) {
  const SplitRows rows = split({});
  EXPECT_EQ(rows.train.size(), 10U);
  EXPECT_THAT(rows.val, IsEmpty());
  EXPECT_EQ(rows.test.size(), 6U);
}

// classes first: rows with labels 0, 1 are 0 1 3 4 6 7 9; then the last 3 of those are held out; then the limit.
TEST(Split, ClassesThenValidationThenLimits) {
  DataConfig config;
  config.classes = 2;
  config.val_size = 3;
  config.train_limit = 2;
  config.test_limit = 3;
  const SplitRows rows = split(config);
  EXPECT_THAT(rows.train, ElementsAre(0, 1));
  EXPECT_THAT(rows.val, ElementsAre(6, 7, 9));
  EXPECT_THAT(rows.test, ElementsAre(1, 2, 4));
}

TEST(Split, LargestSettingsThatFit) {
  DataConfig config;
  config.classes = 3;
  config.val_size = 9;
  config.train_limit = 1;
  config.test_limit = 100;  // more than there are: all
  const SplitRows rows = split(config);
  EXPECT_THAT(rows.train, ElementsAre(0));
  EXPECT_EQ(rows.val.size(), 9U);
  EXPECT_EQ(rows.test.size(), 6U);
}

std::string refusal(std::int64_t DataConfig::*field, std::int64_t value, std::int64_t classes = 0) {
  DataConfig config;
  config.classes = classes;
  config.*field = value;
  return message_of<UsageError>([&] { split(config); });
}

TEST(Split, SettingsThatDoNotFitNameWhatIsAccepted) {
  EXPECT_EQ(refusal(&DataConfig::classes, 4), "data.classes takes 1 to 3, or 0 for all, not 4: the data has 3 classes");
  EXPECT_THAT(refusal(&DataConfig::classes, -1), HasSubstr("data.classes takes 1 to 3"));
  EXPECT_EQ(refusal(&DataConfig::val_size, 10),
            "data.val_size takes 0 to 9, not 10: there are 10 training records to take it from");
  EXPECT_THAT(refusal(&DataConfig::val_size, 7, 2), HasSubstr("takes 0 to 6, not 7"));  // 7 records of two classes
  EXPECT_THAT(refusal(&DataConfig::val_size, -1), HasSubstr("data.val_size takes 0 to 9"));
}

TEST(Split, NoRecordOfTheChosenClasses) {
  DataConfig config;
  config.classes = 1;
  const std::vector<std::int64_t> others{1, 2};
  EXPECT_THAT(message_of<DataError>([&] { split_rows(others, kTest, 3, config); }),
              HasSubstr("no training record is of the first 1 classes"));
  EXPECT_THAT(message_of<DataError>([&] { split_rows(kTrain, others, 3, config); }), HasSubstr("no test record"));
}

}  // namespace
}  // namespace ekd
