#include "ekd/core/text.h"

#include <gtest/gtest.h>

namespace ekd {
namespace {

TEST(Text, NearestNameForgivesSlips) {
  const std::vector<std::string> names{"none", "mixup", "cutmix", "cutout", "augmix"};
  EXPECT_EQ(nearest_name("mixupp", names), "mixup");
  EXPECT_EQ(nearest_name("cutmx", names), "cutmix");
  EXPECT_EQ(nearest_name("aug", names), "augmix");
  EXPECT_EQ(nearest_name("resnet", names), "");
}

}  // namespace
}  // namespace ekd
