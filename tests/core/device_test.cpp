#include "ekd/core/device.h"

#include <gtest/gtest.h>

namespace ekd {
namespace {

TEST(Precision, IsTheOneAskedFor) {
  for (const bool dense : {false, true}) {
    EXPECT_EQ(resolve_precision("fp32", at::kCPU, dense), Precision::kFp32);
    EXPECT_EQ(resolve_precision("bf16", at::kCPU, dense), Precision::kBf16);
  }
}

TEST(Precision, AutoIsTheFasterOneOnThisCpu) {
  const Precision others = cpu_has_bf16() ? Precision::kBf16 : Precision::kFp32;
  const Precision dense = cpu_has_tiles() ? Precision::kBf16 : Precision::kFp32;
  EXPECT_EQ(resolve_precision("auto", at::kCPU, /*dense=*/false), others);
  EXPECT_EQ(resolve_precision("auto", at::kCPU, /*dense=*/true), dense);
}

TEST(Compute, NamesTiles) {
  EXPECT_EQ(compute_description(at::kCPU).find("AMX") != std::string::npos, cpu_has_tiles());
}

}  // namespace
}  // namespace ekd
