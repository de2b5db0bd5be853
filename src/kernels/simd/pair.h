// Vectors of numbers for the loops of this folder. Files that include it are compiled once for each instruction set, so
// nothing in them may be an inline function that other files share, since the linker could keep the copy for the larger
// instruction set: ATen's vectors live in a namespace of their own for each, everything else in an unnamed one.
#pragma once

#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>
#include <c10/util/BFloat16.h>

#include <bit>
#include <cstdint>

namespace ekd {
namespace {

using c10::BFloat16;
using Vector = at::vec::Vectorized<float>;

// As many numbers as one vector of bf16 holds. Loops are written once, for Pair and, at the end of a row that was cut
// short, for float.
struct Pair {
  Vector lo, hi;
};
constexpr std::int64_t kLanes = 2 * Vector::size();

template <class Number>
Number zero();
template <>
Pair zero<Pair>() {
  return {Vector(0), Vector(0)};
}
template <>
float zero<float>() {
  return 0;
}

template <class Number>
Number load(const float* p);
template <class Number>
Number load(const BFloat16* p);

template <>
Pair load<Pair>(const float* p) {
  return {Vector::loadu(p), Vector::loadu(p + Vector::size())};
}
template <>
Pair load<Pair>(const BFloat16* p) {
  auto [lo, hi] = at::vec::convert_bfloat16_float(at::vec::Vectorized<BFloat16>::loadu(p));
  return {lo, hi};
}
template <>
float load<float>(const float* p) {
  return *p;
}
template <>
float load<float>(const BFloat16* p) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(p->x) << 16);
}

void store(Pair v, float* p) {
  v.lo.store(p);
  v.hi.store(p + Vector::size());
}
void store(Pair v, BFloat16* p) { at::vec::convert_float_bfloat16(v.lo, v.hi).store(p); }
void store(float v, float* p) { *p = v; }
void store(float v, BFloat16* p) {  // to nearest, ties to even
  const auto bits = std::bit_cast<std::uint32_t>(v);
  p->x = v != v ? 0x7fc0 : static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Past the caches where there are instructions for it, for which p is a multiple of a vector. end_stream makes it
// visible to other threads.
#if defined(CPU_CAPABILITY_AVX512)
void stream(Vector v, float* p) { _mm512_stream_ps(p, v); }
void end_stream() { _mm_sfence(); }
#elif defined(CPU_CAPABILITY_AVX2)
void stream(Vector v, float* p) { _mm256_stream_ps(p, v); }
void end_stream() { _mm_sfence(); }
#else
void stream(Vector v, float* p) { v.store(p); }
void end_stream() {}
#endif

// With AVX2 alone; elsewhere like store.
void stream(Pair v, float* p) {
#ifdef CPU_CAPABILITY_AVX2
  stream(v.lo, p);
  stream(v.hi, p + Vector::size());
#else
  store(v, p);
#endif
}
void stream(Pair v, BFloat16* p) { store(v, p); }
template <class T>
void stream(float v, T* p) {
  store(v, p);
}

Pair operator+(Pair a, Pair b) { return {a.lo + b.lo, a.hi + b.hi}; }
Pair operator-(Pair a, Pair b) { return {a.lo - b.lo, a.hi - b.hi}; }

Pair multiply_add(Pair a, Pair b, Pair c) {
  return {at::vec::fmadd(a.lo, b.lo, c.lo), at::vec::fmadd(a.hi, b.hi, c.hi)};
}
float multiply_add(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

// max(x, 0); NaN stays NaN, so that a broken training is noticed.
Pair rectify(Pair x) { return {at::vec::clamp_min(x.lo, Vector(0)), at::vec::clamp_min(x.hi, Vector(0))}; }
float rectify(float x) { return x < 0 ? 0 : x; }

// `value` where x is above 0, else 0.
Pair where_positive(Pair x, Pair value) {
  const Vector zero(0);
  return {Vector::blendv(zero, value.lo, x.lo > zero), Vector::blendv(zero, value.hi, x.hi > zero)};
}
float where_positive(float x, float value) { return x > 0 ? value : 0; }

template <class Number>
void accumulate(Number v, float* p) {
  store(load<Number>(p) + v, p);
}

}  // namespace
}  // namespace ekd
