// The type of tensors' elements, which TUNER_DTYPE names: float, half, bfloat16, or on the CPU double. Kernels compute in
// Real: in float, and where the elements are double, in double.
//
// A candidate defines TUNER_DTYPE ahead of the source, by the dtype that it was tuned for. On the CPU the short types
// are structs of their bits, whose conversions are plain arithmetic without branches: loops of them become vectors.
#pragma once
#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#else
#include <cstdint>
#include <cstring>
#endif

#include <type_traits>

#include "core/portable.hpp"

#ifndef TUNER_DTYPE
#define TUNER_DTYPE float
#endif

TUNER_INLINE float to_float(float x) { return x; }
TUNER_INLINE double to_float(double x) { return x; }  // to a Real, as the others

template <class T>
using RealOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

// A Real as the nearest T, halves to even.
template <class T>
TUNER_INLINE T from_float(RealOf<T> x) {
  return x;
}

#ifdef __CUDACC__

using bfloat16 = __nv_bfloat16;

TUNER_INLINE float to_float(half x) { return __half2float(x); }
TUNER_INLINE float to_float(bfloat16 x) { return __bfloat162float(x); }

template <>
TUNER_INLINE half from_float<half>(float x) {
  return __float2half_rn(x);
}

template <>
TUNER_INLINE bfloat16 from_float<bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

#else

struct half {
  std::uint16_t bits;
};

struct bfloat16 {
  std::uint16_t bits;
};

inline std::uint32_t float_bits(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline float bits_float(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// Exponent and mantissa moved to their places in a float, whose exponent the product then corrects; what is subnormal
// is the mantissa of a float near 1/2, less that half.
inline float to_float(half x) {
  const std::uint32_t word = static_cast<std::uint32_t>(x.bits) << 16, shifted = word + word;
  const std::uint32_t normal = float_bits(bits_float((shifted >> 4) + 0x70000000u) * 0x1p-112f);
  const std::uint32_t subnormal = float_bits(bits_float((shifted >> 17) | 0x3f000000u) - 0.5f);
  return bits_float((word & 0x80000000u) | (shifted < 0x08000000u ? subnormal : normal));
}

// The addition of a power of two as large as makes the float's last bit the half's rounds; the first product makes
// infinite what a half cannot hold.
template <>
inline half from_float<half>(float x) {
  const std::uint32_t word = float_bits(x), shifted = word + word, sign = word & 0x80000000u;
  const float scaled = bits_float(word & 0x7fffffffu) * 0x1p112f * 0x1p-110f;
  const std::uint32_t exponent = shifted & 0xff000000u, least = 0x71000000u;
  const std::uint32_t rounder = ((exponent < least ? least : exponent) >> 1) + 0x07800000u;
  const std::uint32_t rounded = float_bits(bits_float(rounder) + scaled);
  const std::uint32_t magnitude = ((rounded >> 13) & 0x7c00u) + (rounded & 0x0fffu);
  return {static_cast<std::uint16_t>((sign >> 16) | (shifted > 0xff000000u ? 0x7e00u : magnitude))};
}

inline float to_float(bfloat16 x) { return bits_float(static_cast<std::uint32_t>(x.bits) << 16); }

template <>
inline bfloat16 from_float<bfloat16>(float x) {
  const std::uint32_t word = float_bits(x), rounded = word + 0x7fffu + ((word >> 16) & 1u);
  return {static_cast<std::uint16_t>((word & 0x7fffffffu) > 0x7f800000u ? (word >> 16) | 0x40u : rounded >> 16)};
}

#endif

using Element = TUNER_DTYPE;
using Real = RealOf<Element>;

TUNER_INLINE Element to_element(Real x) { return from_float<Element>(x); }
