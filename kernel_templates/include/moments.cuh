// Mean and variance that do not cancel. The same code serves CUDA kernels and, through a host compiler, the CPU.
//
// Two forms, for two uses:
//   Moments     count, mean and sum of squared deviations in float; merged pairwise (Chan et al.). For statistics
//               of values that sit in registers or shared memory, where a division a merge is no matter.
//   PivotSums   sums of v - pivot and of its square, in double; merged by two additions. For one read of a long
//               row: each chunk of a few values is condensed in float about its own mean, and only chunks are added in
//               double. With one of the row's own values as pivot the last difference loses nothing.
// Both give NaN for NaN or Inf among the values, and exactly zero deviation for constant ones.
#pragma once

#ifdef __CUDACC__
#define TUNER_INLINE __host__ __device__ __forceinline__
#define TUNER_UNROLL _Pragma("unroll")
#else
#define TUNER_INLINE inline
#define TUNER_UNROLL
#endif

struct Moments {
  float count, mean, m2;  // m2: sum of (v - mean)^2; variance = m2 / count. Counts beyond 2^24 round, harmlessly.
};

// Of K values in registers, in two passes about their mean. K > 0.
template <int K>
TUNER_INLINE Moments moments_of(const float (&v)[K]) {
  float sum = 0.0f, m2 = 0.0f;
  TUNER_UNROLL
  for (int i = 1; i < K; i++) sum += v[i] - v[0];
  const float mean = v[0] + sum / K;
  TUNER_UNROLL
  for (int i = 0; i < K; i++) m2 += (v[i] - mean) * (v[i] - mean);
  return {static_cast<float>(K), mean, m2};
}

// Union of two sets of values; either or both may be empty ({0, 0, 0}).
TUNER_INLINE Moments merge(Moments a, Moments b) {
  if (a.count == 0.0f) return b;
  if (b.count == 0.0f) return a;
  const float count = a.count + b.count, share = b.count / count, step = b.mean - a.mean;
  return {count, a.mean + step * share, a.m2 + b.m2 + step * step * (a.count * share)};
}

struct Merge {
  TUNER_INLINE Moments operator()(Moments a, Moments b) const { return merge(a, b); }
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
