// GroupNorm and the mean over all but the batch, from one read of the convolution's output.
//
// With m[c] the mean of channel c of a sample and mu, rstd the statistics of its group, the result is
//     out[n] = mean over c of ( weight[c] * (m[c] - mu) * rstd + bias[c] ),
// so the normalised tensor is never needed. Each channel is read chunk by chunk: a chunk that fits the first
// cache is condensed in float, in two passes about its own mean; the chunks are added in double.
// Pieces of work and their order of addition do not depend on the threads: equal calls give equal bits.
#include <cmath>

#include "moments.cuh"
#include "parallel.hpp"
#include "simd.hpp"

#ifndef VECTOR_WIDTH  // floats a vector
#define VECTOR_WIDTH 8
#endif
#ifndef ACCUMULATORS  // vectors that are added to in turn
#define ACCUMULATORS 4
#endif
#ifndef GRAIN  // rows that a thread takes at a time
#define GRAIN 4
#endif
#ifndef THREADS
#define THREADS 2
#endif
#ifndef MEMORY_FORMAT  // of y
#define MEMORY_FORMAT_CONTIGUOUS 0
#define MEMORY_FORMAT_CHANNELS_LAST 1
#define MEMORY_FORMAT MEMORY_FORMAT_CONTIGUOUS
#endif

constexpr int A = ACCUMULATORS;
constexpr int STEPS = 32;  // additions an accumulator sees in one chunk: keeps the rounding of a float sum small

extern "C" const char* tuner_error(int) { return "unknown"; }

struct Problem {
  const float* y;          // (n, c, s), or (n, s, c) when channels-last
  const float* conv_bias;  // (c), still to be added to y, or null
  const float* weight;     // (c)
  const float* bias;       // (c)
  float* out;              // (n)
  long long n, c, s, g;
  double eps;
};

#if MEMORY_FORMAT == MEMORY_FORMAT_CONTIGUOUS
// ---- a channel's values lie side by side: a row is one channel of one sample ----

static float pivot(const Problem& p, long long sample, long long channel) {
  return p.y[(sample * p.c + channel) * p.s];
}

static long long slices(const Problem&) { return 1; }

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

static void sum_row(const Problem& p, long long row, PivotSums* partial) {
  constexpr long long CHUNK = STEPS * A * VECTOR_WIDTH;
  const float* values = p.y + row * p.s;
  const float pivot = values[0];
  PivotSums total{0.0, 0.0};
  for (long long begin = 0; begin < p.s; begin += CHUNK) {
    const long long count = std::min(CHUNK, p.s - begin);
    const double sum = sum_of(values + begin, count, [=](auto v) { return v - pivot; });
    const float mean = static_cast<float>(sum / count);
    const double m2 = sum_of(values + begin, count, [=](auto v) {
      const auto d = v - pivot - mean;
      return d * d;
    });
    add_chunk(total, sum, m2, 1.0 / count);
  }
  partial[row] = total;
}

static long long rows(const Problem& p) { return p.n * p.c; }

#else
// ---- a position's channels lie side by side: a row is a slab of positions of one sample ----

constexpr long long SLAB = 1024;

static float pivot(const Problem& p, long long sample, long long channel) {
  return p.y[sample * p.s * p.c + channel];
}

static long long slices(const Problem& p) { return (p.s + SLAB - 1) / SLAB; }

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

// Channels from `channel` on, V at a time; what is left over, in narrower vectors.
template <int V>
static void sum_chunk(const Problem& p, const float* pivots, const float* values, long long count, long long channel,
                      PivotSums* totals) {
  for (; channel + V <= p.c; channel += V) {
    const Floats<V> pivot = load<V>(pivots + channel);
    const Floats<V> sum = sum_of<V>(values + channel, count, p.c, [=](auto v) { return v - pivot; });
    const Floats<V> mean = sum / static_cast<float>(count);
    const Floats<V> m2 = sum_of<V>(values + channel, count, p.c, [=](auto v) {
      const auto d = v - pivot - mean;
      return d * d;
    });
    for (int lane = 0; lane < V; lane++) add_chunk(totals[channel + lane], sum[lane], m2[lane], 1.0 / count);
  }
  if constexpr (V > 1) {
    if (channel < p.c) sum_chunk<V / 2>(p, pivots, values, count, channel, totals);
  }
}

static void sum_row(const Problem& p, long long row, PivotSums* partial) {
  constexpr long long CHUNK = STEPS * A;
  const long long sample = row / slices(p), slice = row % slices(p);
  const float* pivots = p.y + sample * p.s * p.c;
  const long long end = std::min(p.s, (slice + 1) * SLAB);
  std::vector<PivotSums> totals(p.c);
  for (long long begin = slice * SLAB; begin < end; begin += CHUNK) {
    sum_chunk<VECTOR_WIDTH>(p, pivots, pivots + begin * p.c, std::min(CHUNK, end - begin), 0, totals.data());
  }
  for (long long c = 0; c < p.c; c++) partial[(sample * p.c + c) * slices(p) + slice] = totals[c];
}

static long long rows(const Problem& p) { return p.n * slices(p); }
#endif

// ---- finishing a sample: its partial sums (n, c, slices) to its result ----

struct Channel {
  double mean, m2;  // mean with the convolution's bias; sum of squared deviations from it
};

static Channel read_channel(const Problem& p, const PivotSums* partial, long long sample, long long channel) {
  PivotSums sums{0.0, 0.0};
  for (long long i = 0; i < slices(p); i++) sums = sums + partial[(sample * p.c + channel) * slices(p) + i];
  const double offset = p.conv_bias == nullptr ? 0.0 : p.conv_bias[channel];
  const double count = static_cast<double>(p.s);
  return {pivot(p, sample, channel) + offset + mean_of(sums, count), m2_of(sums, count)};
}

static void finish_sample(const Problem& p, const PivotSums* partial, long long sample) {
  const long long channels = p.c / p.g;
  double total = 0.0;
  for (long long begin = 0; begin < p.c; begin += channels) {
    double mean = 0.0, m2 = 0.0, weighted = 0.0;
    for (long long c = begin; c < begin + channels; c++) mean += read_channel(p, partial, sample, c).mean;
    mean /= channels;
    for (long long c = begin; c < begin + channels; c++) {
      const Channel channel = read_channel(p, partial, sample, c);
      const double step = channel.mean - mean;
      m2 += channel.m2 + step * step * p.s;
      weighted += p.weight[c] * step;
      total += p.bias[c];
    }
    total += weighted / std::sqrt(m2 / (static_cast<double>(channels) * p.s) + p.eps);
  }
  p.out[sample] = static_cast<float>(total / p.c);
}

extern "C" int gn_mean(const float* y, const float* conv_bias, const float* weight, const float* bias, float* out,
                       long long n, long long c, long long s, long long g, double eps, void*) {
  const Problem p{y, conv_bias, weight, bias, out, n, c, s, g, eps};
  std::vector<PivotSums> partial(n * c * slices(p));
  parallel_for(rows(p), GRAIN, THREADS, [&](long long begin, long long end) {
    for (long long row = begin; row < end; row++) sum_row(p, row, partial.data());
  });
  for (long long sample = 0; sample < n; sample++) finish_sample(p, partial.data(), sample);
  return 0;
}
