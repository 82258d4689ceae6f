// Monoids: what a reduction keeps of the values that it has seen. The same code serves CUDA kernels and, through a host
// compiler, the CPU. Rounds of families/functor.hpp are made of them.
//
// A state is small and trivially copyable, and has
//   Value                       what it takes: a Real (numerics/element.hpp), or a struct of them
//   ORDERED                     whether positions matter; otherwise `first` and `step` below may be anything
//   identity()                  of no values
//   add(v, first, step)         takes v[0..K) at once, v[j] being at position first + j * step of its row
//   merge(a, b)                 of both; either may be the identity. Associative up to rounding.
// Many values at once are cheaper and more exact than one at a time. What grows over a row (a sum) is kept in double;
// only a chunk of K values is summed in Real.
//
// NaN and Inf come out as PyTorch's reductions give them: a maximum or minimum is NaN where any value is, a NaN is the
// first of all for ArgMaxState and ArgMinState; moments of Inf are NaN, as are all results of a norm.
#pragma once
#include "numerics/functions.hpp"  // ahead of all others

#include <cmath>

#include "core/portable.hpp"
#include "numerics/element.hpp"

namespace monoid {

constexpr Real infinity = HUGE_VALF;

TUNER_INLINE Real larger(Real a, Real b) {  // NaN wins
#ifdef __CUDA_ARCH__
  Real m;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(m) : "f"(a), "f"(b));
  return m;
#else
  return fn::maximum(a, b);
#endif
}

TUNER_INLINE Real smaller(Real a, Real b) {  // NaN wins
#ifdef __CUDA_ARCH__
  Real m;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(m) : "f"(a), "f"(b));
  return m;
#else
  return fn::minimum(a, b);
#endif
}

#ifdef __CUDACC__

// v[0..K) added up in pairs: the error grows with the logarithm of K.
template <int K>
TUNER_INLINE Real sum_of(const Real (&v)[K]) {
  if constexpr (K == 1) {
    return v[0];
  } else {
    constexpr int half = (K + 1) / 2;
    Real pairs[half];
    TUNER_UNROLL
    for (int j = 0; j < half; j++) pairs[j] = 2 * j + 1 < K ? v[2 * j] + v[2 * j + 1 < K ? 2 * j + 1 : 0] : v[2 * j];
    return sum_of(pairs);
  }
}

template <int K>
TUNER_INLINE Real largest_of(const Real (&v)[K]) {
  Real m = v[0];
  TUNER_UNROLL
  for (int j = 1; j < K; j++) m = larger(m, v[j]);
  return m;
}

template <int K>
TUNER_INLINE Real smallest_of(const Real (&v)[K]) {
  Real m = v[0];
  TUNER_UNROLL
  for (int j = 1; j < K; j++) m = smaller(m, v[j]);
  return m;
}

#else

// v[0..K) put together in pairs that lie half of them apart: loops of whole vectors.
template <int K, class Both>
inline Real in_pairs(const Real (&v)[K], Both both) {
  if constexpr (K == 1) {
    return v[0];
  } else {
    constexpr int half = (K + 1) / 2;
    Real pairs[half];
    for (int j = 0; j < K / 2; j++) pairs[j] = both(v[j], v[j + half]);
    if (K % 2 == 1) pairs[half - 1] = v[half - 1];
    return in_pairs(pairs, both);
  }
}

template <int K>
inline Real sum_of(const Real (&v)[K]) {
  return in_pairs(v, [](Real a, Real b) { return a + b; });
}

template <int K>
inline Real largest_of(const Real (&v)[K]) {
  return in_pairs(v, larger);
}

template <int K>
inline Real smallest_of(const Real (&v)[K]) {
  return in_pairs(v, smaller);
}

#endif

}  // namespace monoid

struct SumState {
  using Value = Real;
  static constexpr bool ORDERED = false;
  double value;

  TUNER_INLINE static SumState identity() { return {0.0}; }
  template <int K>
  TUNER_INLINE void add(const Real (&v)[K], long long, long long) {
    value += monoid::sum_of(v);
  }
  TUNER_INLINE static SumState merge(SumState a, SumState b) { return {a.value + b.value}; }
};

template <int N>
struct Values {
  Real at[N];
};

// Several sums of one element: the terms of a loss.
template <int N>
struct SumsState {
  using Value = Values<N>;
  static constexpr bool ORDERED = false;
  double value[N];

  TUNER_INLINE static SumsState identity() { return {}; }
  template <int K>
  TUNER_INLINE void add(const Value (&v)[K], long long, long long) {
    TUNER_UNROLL
    for (int n = 0; n < N; n++) {
      Real one[K];
      TUNER_UNROLL
      for (int j = 0; j < K; j++) one[j] = v[j].at[n];
      value[n] += monoid::sum_of(one);
    }
  }
  TUNER_INLINE static SumsState merge(SumsState a, const SumsState& b) {
    TUNER_UNROLL
    for (int n = 0; n < N; n++) a.value[n] += b.value[n];
    return a;
  }
};

// In double throughout: a product of floats leaves their range long before its last factor brings it back.
struct ProductState {
  using Value = Real;
  static constexpr bool ORDERED = false;
  double value;

  TUNER_INLINE static ProductState identity() { return {1.0}; }
  template <int K>
  TUNER_INLINE void add(const Real (&v)[K], long long, long long) {
    TUNER_UNROLL
    for (int j = 0; j < K; j++) value *= v[j];
  }
  TUNER_INLINE static ProductState merge(ProductState a, ProductState b) { return {a.value * b.value}; }
};

struct MaxState {
  using Value = Real;
  static constexpr bool ORDERED = false;
  Real value;

  TUNER_INLINE static MaxState identity() { return {-monoid::infinity}; }
  template <int K>
  TUNER_INLINE void add(const Real (&v)[K], long long, long long) {
    value = monoid::larger(value, monoid::largest_of(v));
  }
  TUNER_INLINE static MaxState merge(MaxState a, MaxState b) { return {monoid::larger(a.value, b.value)}; }
};

struct MinState {
  using Value = Real;
  static constexpr bool ORDERED = false;
  Real value;

  TUNER_INLINE static MinState identity() { return {monoid::infinity}; }
  template <int K>
  TUNER_INLINE void add(const Real (&v)[K], long long, long long) {
    value = monoid::smaller(value, monoid::smallest_of(v));
  }
  TUNER_INLINE static MinState merge(MinState a, MinState b) { return {monoid::smaller(a.value, b.value)}; }
};

// Truth values are 0 and 1; any other value, NaN too, is true.
struct AnyState {
  using Value = Real;
  static constexpr bool ORDERED = false;
  Real value;

  TUNER_INLINE static AnyState identity() { return {0.0f}; }
  template <int K>
  TUNER_INLINE void add(const Real (&v)[K], long long, long long) {
    TUNER_UNROLL
    for (int j = 0; j < K; j++) value = v[j] != 0.0f ? 1.0f : value;
  }
  TUNER_INLINE static AnyState merge(AnyState a, AnyState b) { return {a.value != 0.0f ? a.value : b.value}; }
};

struct AllState {
  using Value = Real;
  static constexpr bool ORDERED = false;
  Real value;

  TUNER_INLINE static AllState identity() { return {1.0f}; }
  template <int K>
  TUNER_INLINE void add(const Real (&v)[K], long long, long long) {
    TUNER_UNROLL
    for (int j = 0; j < K; j++) value = v[j] == 0.0f ? 0.0f : value;
  }
  TUNER_INLINE static AllState merge(AllState a, AllState b) { return {a.value == 0.0f ? a.value : b.value}; }
};

// Mean and variance that do not cancel, without a division: sums in double about one of the values, and of each chunk
// its deviations from its own mean. Fewer than 2^32 values.
struct MomentsState {
  using Value = Real;
  static constexpr bool ORDERED = false;
  double sum, square;  // of v - pivot
  Real pivot;         // the first value that came, 0 where that is not finite: the mean of an infinite value is infinite
  unsigned count;

  TUNER_INLINE static MomentsState identity() { return {0.0, 0.0, 0.0f, 0}; }
  template <int K>
  TUNER_INLINE void add(const Real (&v)[K], long long, long long) {
    const Real first = fn::abs(v[0]) < monoid::infinity ? v[0] : 0.0f;
    Real d[K], squares[K];
    TUNER_UNROLL
    for (int j = 0; j < K; j++) d[j] = v[j] - first;
    const Real chunk = monoid::sum_of(d), middle = chunk * (Real(1) / K);
    TUNER_UNROLL
    for (int j = 0; j < K; j++) squares[j] = (d[j] - middle) * (d[j] - middle);
    if (count == 0) pivot = first;
    const double moved = chunk + K * (static_cast<double>(first) - pivot);
    sum += moved;
    square += monoid::sum_of(squares) + moved * moved * (1.0 / K);
    count += K;
  }
  TUNER_INLINE static MomentsState merge(MomentsState a, MomentsState b) {
    if (a.count == 0) return b;
    const double step = static_cast<double>(b.pivot) - a.pivot, count = b.count;
    if (b.count == 0) return a;
    return {a.sum + (b.sum + count * step), a.square + (b.square + step * (2.0 * b.sum + count * step)), a.pivot,
            a.count + b.count};
  }

  TUNER_INLINE double mean() const { return pivot + sum / count; }
  // Divided by the count; times count / (count - 1.0) is the unbiased one.
  TUNER_INLINE double variance() const {
    const double middle = sum / count, found = square / count - middle * middle;
    return found < 0.0 ? 0.0 : found;  // rounding may leave -1e-17; NaN stays NaN
  }
};

// The maximum, and the sum of exp(v - maximum), from one look at the values. While every value is -Inf the sum is 0;
// with a maximum of +Inf it is NaN.
struct MaxSumState {
  using Value = Real;
  static constexpr bool ORDERED = false;
  double sum;
  Real max;

  TUNER_INLINE static MaxSumState identity() { return {0.0, -monoid::infinity}; }
  template <int K>
  TUNER_INLINE void add(const Real (&v)[K], long long, long long) {
    const Real found = monoid::larger(max, monoid::largest_of(v)), shift = finite(found);
    Real terms[K];
    TUNER_UNROLL
    for (int j = 0; j < K; j++) terms[j] = fn::exp(v[j] - shift);
    sum = sum * fn::exp(max - shift) + monoid::sum_of(terms);
    max = found;
  }
  TUNER_INLINE static MaxSumState merge(MaxSumState a, MaxSumState b) {
    // of the smaller maximum's sum; NaN stays
    const Real less = a.max == b.max ? 1.0f : fn::exp(-fn::abs(a.max - b.max));
    const bool first = a.max > b.max;
    return {(first ? a.sum : b.sum) + (first ? b.sum : a.sum) * less, monoid::larger(a.max, b.max)};
  }

 private:
  TUNER_INLINE static Real finite(Real max) { return max == -monoid::infinity ? 0.0f : max; }
};

// The largest (smallest, with LARGEST false) value and the first position where it stands.
template <bool LARGEST>
struct ArgState {
  using Value = Real;
  static constexpr bool ORDERED = true;
  Real value;
  unsigned index;

  TUNER_INLINE static ArgState identity() { return {LARGEST ? -monoid::infinity : monoid::infinity, ~0u}; }
  template <int K>
  TUNER_INLINE void add(const Real (&v)[K], long long first, long long step) {
    const Real found = LARGEST ? monoid::largest_of(v) : monoid::smallest_of(v);
    if (LARGEST ? found < value : found > value) return;  // nearly always, once the row is under way
    int at = 0;
    TUNER_UNROLL
    for (int j = K - 1; j >= 0; j--) at = v[j] == found || v[j] != v[j] ? j : at;
    *this = merge(*this, {found, static_cast<unsigned>(first + at * step)});
  }
  TUNER_INLINE static ArgState merge(ArgState a, ArgState b) {
    const bool lost = a.value != a.value, lost_too = b.value != b.value;
    if (a.value == b.value || (lost && lost_too)) return a.index < b.index ? a : b;
    return lost || (!lost_too && (LARGEST ? a.value > b.value : a.value < b.value)) ? a : b;
  }
};

using ArgMaxState = ArgState<true>;
using ArgMinState = ArgState<false>;
