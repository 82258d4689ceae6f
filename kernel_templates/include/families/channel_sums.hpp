// Mean and variance of every channel of every sample on the CPU, from one read of a tensor of positions, each value
// taken through an elementwise map on the way.
//
// A chunk that fits the first cache is condensed in float, in two passes about its own first value and mean, so that
// neither a common offset nor an outlier elsewhere costs it any bits; the chunks are added in double, about the
// channel's pivot, its first value. Pieces of work and their order of addition do not depend on the threads: equal
// calls give equal bits.
//
// The including source gives VECTOR_WIDTH, ACCUMULATORS, GRAIN, THREADS and MEMORY_FORMAT (see its knobs), and a Task:
//   static Y map(Y y, B conv_bias)          of a Floats<V> and one bias, or of the values of V channels and V biases
//   static double late(double conv_bias)    what is added to a channel's mean afterwards
#pragma once
#include <cmath>

#include "core/parallel.hpp"
#include "core/simd.hpp"
#include "numerics/activation.cuh"
#include "numerics/moments.cuh"

constexpr int A = ACCUMULATORS;
constexpr int STEPS = 32;  // additions an accumulator sees in one chunk: keeps the rounding of a float sum small

struct Tensor {
  const float* y;          // (n, c, s), or (n, s, c) when channels-last
  const float* conv_bias;  // (c), still to be added to y, or null
  long long n, c, s;

  float offset(long long channel) const { return conv_bias == nullptr ? 0.0f : conv_bias[channel]; }
};

// The channel's first value, mapped.
template <class Task>
static float pivot(const Tensor& p, long long sample, long long channel) {
  const bool contiguous = MEMORY_FORMAT == MEMORY_FORMAT_CONTIGUOUS;
  const long long at = contiguous ? (sample * p.c + channel) * p.s : sample * p.s * p.c + channel;
  return Task::map(Floats<1>{p.y[at]}, p.offset(channel))[0];
}

#if MEMORY_FORMAT == MEMORY_FORMAT_CONTIGUOUS
// ---- a channel's values lie side by side: a row is one channel of one sample ----

static long long slices(const Tensor&) { return 1; }
static long long rows(const Tensor& p) { return p.n * p.c; }

// Sum over values[0, count) of f(value): A vectors at a time, then single vectors, then single floats.
template <class F>
static inline double sum_of(const float* values, long long count, F f) {
  constexpr int V = VECTOR_WIDTH;
  Floats<V> sums[A] = {};
  long long i = 0;
  for (; i + A * V <= count; i += A * V) {
    for (int a = 0; a < A; a++) sums[a] += f(load<V>(values + i + a * V));
  }
  for (; i + V <= count; i += V) sums[0] += f(load<V>(values + i));
  double sum = sum_lanes<V, A>(sums);
  for (; i < count; i++) sum += f(Floats<1>{values[i]})[0];
  return sum;
}

template <class Task>
static void sum_row(const Tensor& p, long long row, PivotSums* partial) {
  constexpr long long CHUNK = STEPS * A * VECTOR_WIDTH;
  const float* values = p.y + row * p.s;
  const float offset = p.offset(row % p.c);
  const double origin = pivot<Task>(p, row / p.c, row % p.c);
  PivotSums total{0.0, 0.0};
  for (long long begin = 0; begin < p.s; begin += CHUNK) {
    const long long count = std::min(CHUNK, p.s - begin);
    const float about = Task::map(Floats<1>{values[begin]}, offset)[0];
    const double sum = sum_of(values + begin, count, [=](auto v) { return Task::map(v, offset) - about; });
    const float mean = static_cast<float>(sum / count);
    const double m2 = sum_of(values + begin, count, [=](auto v) {
      const auto d = Task::map(v, offset) - about - mean;
      return d * d;
    });
    add_chunk(total, sum + count * (about - origin), m2, 1.0 / count);
  }
  partial[row] = total;
}

#else
// ---- a position's channels lie side by side: a row is a slab of positions of one sample ----

constexpr long long SLAB = 1024;

static long long slices(const Tensor& p) { return (p.s + SLAB - 1) / SLAB; }
static long long rows(const Tensor& p) { return p.n * slices(p); }

// For V channels at once: sum over `count` positions, `stride` floats apart, of f(values).
template <int V, class F>
static inline Floats<V> sum_of(const float* values, long long count, long long stride, F f) {
  Floats<V> sums[A] = {};
  long long i = 0;
  for (; i + A <= count; i += A) {
    for (int a = 0; a < A; a++) sums[a] += f(load<V>(values + (i + a) * stride));
  }
  for (; i < count; i++) sums[0] += f(load<V>(values + i * stride));
  for (int half = A / 2; half > 0; half /= 2) {
    for (int a = 0; a < half; a++) sums[a] += sums[a + half];
  }
  return sums[0];
}

// Channels from `channel` on, V at a time; what is left over, in narrower vectors. pivots and offsets (c).
template <class Task, int V>
static void sum_chunk(const Tensor& p, const float* pivots, const float* offsets, const float* values, long long count,
                      long long channel, PivotSums* totals) {
  for (; channel + V <= p.c; channel += V) {
    const Floats<V> offset = load<V>(offsets + channel), about = Task::map(load<V>(values + channel), offset);
    const Floats<V> sum = sum_of<V>(values + channel, count, p.c, [=](auto v) { return Task::map(v, offset) - about; });
    const Floats<V> mean = sum / static_cast<float>(count);
    const Floats<V> m2 = sum_of<V>(values + channel, count, p.c, [=](auto v) {
      const auto d = Task::map(v, offset) - about - mean;
      return d * d;
    });
    for (int lane = 0; lane < V; lane++) {
      const double step = static_cast<double>(about[lane]) - pivots[channel + lane];
      add_chunk(totals[channel + lane], sum[lane] + count * step, m2[lane], 1.0 / count);
    }
  }
  if constexpr (V > 1) {
    if (channel < p.c) sum_chunk<Task, V / 2>(p, pivots, offsets, values, count, channel, totals);
  }
}

template <class Task>
static void sum_row(const Tensor& p, long long row, PivotSums* partial) {
  constexpr long long CHUNK = STEPS * A;
  const long long sample = row / slices(p), slice = row % slices(p);
  const long long end = std::min(p.s, (slice + 1) * SLAB);
  std::vector<float> pivots(p.c), offsets(p.c);
  for (long long c = 0; c < p.c; c++) pivots[c] = pivot<Task>(p, sample, c), offsets[c] = p.offset(c);
  std::vector<PivotSums> totals(p.c);
  for (long long begin = slice * SLAB; begin < end; begin += CHUNK) {
    const float* values = p.y + (sample * p.s + begin) * p.c;
    sum_chunk<Task, VECTOR_WIDTH>(p, pivots.data(), offsets.data(), values, std::min(CHUNK, end - begin), 0,
                                  totals.data());
  }
  for (long long c = 0; c < p.c; c++) partial[(sample * p.c + c) * slices(p) + slice] = totals[c];
}
#endif

// Of every channel of every sample: (n, c).
template <class Task>
static std::vector<Moments<double>> channel_moments(const Tensor& p) {
  std::vector<PivotSums> partial(p.n * p.c * slices(p));
  parallel_for(rows(p), GRAIN, THREADS, [&](long long begin, long long end) {
    for (long long row = begin; row < end; row++) sum_row<Task>(p, row, partial.data());
  });
  std::vector<Moments<double>> moments(p.n * p.c);
  const double count = static_cast<double>(p.s);
  for (long long i = 0; i < p.n * p.c; i++) {
    PivotSums sums{0.0, 0.0};
    for (long long slice = 0; slice < slices(p); slice++) sums = sums + partial[i * slices(p) + slice];
    const double offset = Task::late(p.offset(i % p.c));
    moments[i] = {count, pivot<Task>(p, i / p.c, i % p.c) + offset + mean_of(sums, count), m2_of(sums, count)};
  }
  return moments;
}
