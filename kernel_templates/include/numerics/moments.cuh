// Mean and variance that do not cancel. The same code serves CUDA kernels and, through a host compiler, the CPU.
//
//   Moments<T>    count, mean and sum of squared deviations; merged pairwise (Chan et al.), a division a merge. In float
//                 for values that sit in registers or shared memory, in double for what many threads found.
//   RunningSums   one thread's sums in float, value by value, about one of the values: an addition and a multiplication
//                 each. For values that come one at a time and are not kept.
//   PivotSums     sums in double about a pivot that all partial sums of one row share; merged by two additions. For one
//                 read of a long row: each chunk of a few values is condensed in float about its own mean, and only
//                 chunks are added in double. With one of the row's own values as pivot the last difference loses nothing.
// All give NaN for NaN or Inf among the values, and exactly zero deviation for constant ones.
#pragma once
#include <cmath>

#include "core/portable.hpp"

template <class T>
struct Moments {
  T count, mean, m2;  // m2: sum of (v - mean)^2; variance = m2 / count. A float's count beyond 2^24 rounds, harmlessly.
};

// Of K values in registers, in two passes about their mean. K > 0.
template <int K>
TUNER_INLINE Moments<float> moments_of(const float (&v)[K]) {
  float sum = 0.0f, m2 = 0.0f;
  TUNER_UNROLL
  for (int i = 1; i < K; i++) sum += v[i] - v[0];
  const float mean = v[0] + sum / K;
  TUNER_UNROLL
  for (int i = 0; i < K; i++) m2 += (v[i] - mean) * (v[i] - mean);
  return {static_cast<float>(K), mean, m2};
}

// Union of two sets of values; either or both may be empty ({0, 0, 0}).
template <class T>
TUNER_INLINE Moments<T> merge(Moments<T> a, Moments<T> b) {
  if (a.count == 0) return b;
  if (b.count == 0) return a;
  const T count = a.count + b.count, share = b.count / count, step = b.mean - a.mean;
  return {count, a.mean + step * share, a.m2 + b.m2 + step * step * (a.count * share)};
}

struct Merge {
  template <class T>
  TUNER_INLINE Moments<T> operator()(Moments<T> a, Moments<T> b) const {
    return merge(a, b);
  }
};

struct RunningSums {
  float pivot, sum, square;  // of v - pivot

  TUNER_INLINE void add(float v) {
    const float step = v - pivot;
    sum += step;
    square = fmaf(step, step, square);
  }

  // Of `count` values; per_count is 1 / count.
  TUNER_INLINE Moments<double> moments(double count, double per_count) const {
    const double wide = sum;
    return {count, pivot + wide * per_count, square - wide * wide * per_count};
  }
};

struct PivotSums {
  double sum, square;  // of v - pivot, for a pivot that all partial sums of one row share
};

TUNER_INLINE PivotSums operator+(PivotSums a, PivotSums b) { return {a.sum + b.sum, a.square + b.square}; }

// Adds a chunk of values: `sum` of d = v - pivot and `m2` of (d - mean)^2, both found in float, where
// mean = sum * per_count and per_count is 1 / (number of values). One value alone: add_chunk(total, d, 0, 1).
TUNER_INLINE void add_chunk(PivotSums& total, double sum, double m2, double per_count) {
  total.sum += sum;
  total.square += m2 + sum * sum * per_count;
}

// Mean less the pivot, and sum of squared deviations from the mean, of `count` values.
TUNER_INLINE double mean_of(PivotSums s, double count) { return s.sum / count; }
TUNER_INLINE double m2_of(PivotSums s, double count) {
  const double m2 = s.square - s.sum * s.sum / count;
  return m2 < 0.0 ? 0.0 : m2;  // rounding may leave -1e-17; NaN stays NaN
}
