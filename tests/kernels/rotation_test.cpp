// The matrices behind rotations; Pillow's own outputs are compared in base_view_test.cpp and augmix_test.cpp.
#include "ekd/kernels/rotation.h"

#include <gtest/gtest.h>

namespace ekd {
namespace {

TEST(Rotation, NothingAtZeroAndAtFullTurns) {
  for (const double degrees : {0.0, 360.0, -720.0}) {
    const Affine map = rotation_matrix(degrees, 32, 24);
    const double identity[6] = {1, 0, 0, 0, 1, 0};
    for (int i = 0; i < 6; ++i) EXPECT_EQ(map.a[i], identity[i]) << degrees << " " << i;
    const FixedAffine fixed = fixed_affine(map);
    for (int y = 0; y < 24; ++y)
      for (int x = 0; x < 32; ++x) {
        const Pixel source = nearest_source(fixed, {x, y});
        ASSERT_TRUE(source.x == x && source.y == y);
      }
  }
}

// A quarter turn counter-clockwise: output (x, y) shows input (side - 1 - y, x). cos(90°) = 6e-17 rounds to 0.
TEST(Rotation, QuarterTurnIsExact) {
  const Affine map = rotation_matrix(90, 8, 8);
  EXPECT_EQ(map.a[0], 0);
  EXPECT_EQ(map.a[1], -1);
  for (int y = 0; y < 8; ++y)
    for (int x = 0; x < 8; ++x) {
      const Pixel source = nearest_source(fixed_affine(map), {x, y});
      EXPECT_TRUE(source.x == 7 - y && source.y == x) << x << " " << y;
    }
}

// sin 30° = .5 and cos 30° = .866025403784439 (15 decimals), about the centre (16, 16): a[2] = 16 - 16 cos + 16 sin.
TEST(Rotation, FifteenDecimals) {
  const Affine map = rotation_matrix(30, 32, 32);
  EXPECT_EQ(map.a[0], 0.866025403784439);
  EXPECT_EQ(map.a[1], -0.5);
  EXPECT_EQ(map.a[3], 0.5);
  EXPECT_NEAR(map.a[2], 16 - 16 * 0.866025403784439 + 8, 1e-14);
  // 65536 · .866025403784439 + .5 = 56756.3…, 65536 · -.5 + .5 = -32767.5 → floor -32768.
  EXPECT_EQ(fixed_affine(map).a[0], 56756);
  EXPECT_EQ(fixed_affine(map).a[1], -32768);
}

}  // namespace
}  // namespace ekd
