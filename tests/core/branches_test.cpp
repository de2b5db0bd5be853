#include "ekd/core/branches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

namespace ekd {
namespace {

TEST(Branches, OnACpuAreDoneInTheirOrderUpToOneThatThrows) {
  std::vector<int> done;
  const auto works = [&](int bad) {
    std::vector<std::function<void()>> all;
    for (int i = 0; i < 3; ++i)
      all.emplace_back([&done, i, bad] {
        if (i == bad) throw std::runtime_error("broken");
        done.push_back(i);
      });
    return all;
  };
  run_branches(at::kCPU, works(-1));
  EXPECT_THAT(done, testing::ElementsAre(0, 1, 2));
  EXPECT_THROW(run_branches(at::kCPU, works(1)), std::runtime_error);
  EXPECT_THAT(done, testing::ElementsAre(0, 1, 2, 0));
}

}  // namespace
}  // namespace ekd
