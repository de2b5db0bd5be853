#include "ekd/kernels/pixels.h"

#include <cmath>
#include <cstdint>
#include <numbers>

namespace ekd {
namespace {

__extension__ using Wide = unsigned __int128;

// The double nearest to x rounded to 15 decimals (halves to even, of x's exact value), |x| <= 1: what Python's round(x,
// 15) gives. x = mantissa · 2^-shift exactly, so mantissa · 10^15 and its rounding are integers; the one division that
// is left rounds once, as reading the decimal would.
double rounded_to_15_decimals(double x) {
  constexpr std::uint64_t kUnit = 1'000'000'000'000'000;
  int exponent = 0;
  const auto mantissa = static_cast<std::uint64_t>(std::ldexp(std::frexp(std::fabs(x), &exponent), 53));
  const int shift = 53 - exponent;
  if (shift > 120) return std::copysign(0.0, x);
  const Wide scaled = Wide{mantissa} * kUnit;
  const Wide half = Wide{1} << (shift - 1), rest = scaled & ((half << 1) - 1);
  auto count = static_cast<std::uint64_t>(scaled >> shift);
  if (rest > half || (rest == half && count % 2 == 1)) ++count;
  return std::copysign(static_cast<double>(count) / static_cast<double>(kUnit), x);
}

std::int32_t to_fixed(double value) { return static_cast<std::int32_t>(std::floor(value * 65536.0 + 0.5)); }

}  // namespace

Affine rotation_matrix(double degrees, int width, int height) {
  double turn = std::fmod(degrees, 360.0);
  if (turn < 0) turn += 360.0;
  const double angle = -(turn * (std::numbers::pi / 180.0));
  const double cosine = rounded_to_15_decimals(std::cos(angle)), sine = rounded_to_15_decimals(std::sin(angle));
  const double x = width / 2.0, y = height / 2.0;
  return {{cosine, sine, cosine * -x + sine * -y + x, -sine, cosine, -sine * -x + cosine * -y + y}};
}

FixedAffine fixed_affine(const Affine& map) {
  const double* a = map.a;
  return {{to_fixed(a[0]), to_fixed(a[1]), to_fixed(a[2] + a[0] * 0.5 + a[1] * 0.5), to_fixed(a[3]), to_fixed(a[4]),
           to_fixed(a[5] + a[3] * 0.5 + a[4] * 0.5)}};
}

}  // namespace ekd
