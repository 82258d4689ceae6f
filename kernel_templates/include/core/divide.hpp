// Division by a number that is known before the kernel starts: a product and a shift.
#pragma once
#include "core/portable.hpp"

// The upper half of a product.
TUNER_INLINE unsigned high_product(unsigned a, unsigned b) {
#ifdef __CUDA_ARCH__
  return __umulhi(a, b);
#else
  return static_cast<unsigned>(static_cast<unsigned long long>(a) * b >> 32);
#endif
}

TUNER_INLINE unsigned long long high_product(unsigned long long a, unsigned long long b) {
#ifdef __CUDA_ARCH__
  return __umul64hi(a, b);
#else
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
#endif
}

// n / divisor, rounded down, of any n below half of Word's range. Made on the host.
//
// With 2^shift the first power of two that is no less than the divisor, and B the bits of Word,
// the multiplier 2^(B - 1 + shift) / divisor, rounded up, fits Word, and is near enough for these n.
template <class Word, class Double>
struct DividerOf {
  Word divisor, multiplier;
  int shift;

  DividerOf() = default;
  explicit DividerOf(Word by) : divisor(by > 0 ? by : 1), multiplier(0), shift(0) {  // of nothing, anything will do
    constexpr int bits = 8 * sizeof(Word);
    by = divisor;
    while ((static_cast<Double>(1) << shift) < by) shift++;
    multiplier = static_cast<Word>(((static_cast<Double>(1) << (bits - 1 + shift)) + by - 1) / by);
  }

  TUNER_INLINE Word quotient(Word n) const { return high_product(multiplier, static_cast<Word>(2 * n)) >> shift; }
  TUNER_INLINE Word remainder(Word n) const { return n - quotient(n) * divisor; }
};

using Divider = DividerOf<unsigned, unsigned long long>;
using WideDivider = DividerOf<unsigned long long, unsigned __int128>;
