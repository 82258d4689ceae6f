// gn_min_bias on the CPU after a product by PyTorch: GroupNorm and minimum, then the broadcast sum.
#include <cmath>
#include <limits>

#include "core/parallel.hpp"
#include "core/simd.hpp"

#ifndef VECTOR_WIDTH  // floats a vector
#define VECTOR_WIDTH 16
#endif
#ifndef ACCUMULATORS  // independent vectors of a sum over a group
#define ACCUMULATORS 1
#endif
#ifndef ROWS  // rows a piece of work
#define ROWS 16
#endif
#ifndef BIASES  // biases whose results are a piece of work
#define BIASES 64
#endif
#ifndef THREADS  // 0: as many as the caller says
#define THREADS 0
#endif

constexpr int V = VECTOR_WIDTH, A = ACCUMULATORS;

extern "C" const char* tuner_error(int) { return "failed"; }

// The smaller one; NaN wins, as in torch.min.
static float smaller(float a, float b) { return a < b || a != a ? a : b; }

// Sum of a vector's lanes, in halves.
template <int W>
static float lane_sum(Floats<W> v) {
  if constexpr (W == 1) {
    return v[0];
  } else {
    Floats<W / 2> half[2];
    std::memcpy(half, &v, sizeof v);
    return lane_sum<W / 2>(half[0] + half[1]);
  }
}

// Sum of term(i) over a group's channels i: `wide` gives V terms from i on, `narrow` one.
template <class Wide, class Narrow>
static float sum_over(long long channels, const Wide& wide, const Narrow& narrow) {
  Floats<V> sums[A] = {};
  long long i = 0;
  for (; i + A * V <= channels; i += A * V) {
    for (int a = 0; a < A; a++) sums[a] += wide(i + a * V);
  }
  for (int half = A / 2; half > 0; half /= 2) {
    for (int a = 0; a < half; a++) sums[a] += sums[a + half];
  }
  float rest = 0.0f;
  for (; i < channels; i++) rest += narrow(i);
  return lane_sum<V>(sums[0]) + rest;
}

// Minimum over one row of GroupNorm of y + offset.
template <bool OFFSET>
static float row_minimum(const float* y, const float* offset, const float* weight, const float* bias, long long c,
                         long long groups, float eps) {
  const long long channels = c / groups;
  const float infinity = std::numeric_limits<float>::infinity();
  Floats<V> minima = broadcast<V>(infinity);
  float minimum = infinity;
  for (long long first = 0; first < c; first += channels) {
    const float* const values = y + first;
    const float* const offsets = OFFSET ? offset + first : nullptr;
    // Deviations from the group's first value: their sum does not cancel under a common offset.
    const float pivot = OFFSET ? values[0] + offsets[0] : values[0];
    const auto wide = [&](long long i) {
      const Floats<V> v = load<V>(values + i);
      if constexpr (OFFSET) return v + load<V>(offsets + i) - pivot;
      return v - pivot;
    };
    const auto narrow = [&](long long i) { return (OFFSET ? values[i] + offsets[i] : values[i]) - pivot; };
    const float mean = sum_over(channels, wide, narrow) / channels;
    const float m2 = sum_over(
        channels, [&](long long i) { return (wide(i) - mean) * (wide(i) - mean); },
        [&](long long i) { return (narrow(i) - mean) * (narrow(i) - mean); });
    const float factor = 1.0f / std::sqrt(m2 / channels + eps);
    long long i = 0;
    for (; i + V <= channels; i += V) {
      const Floats<V> v = (wide(i) - mean) * factor * load<V>(weight + first + i) + load<V>(bias + first + i);
      minima = (v < minima) | (v != v) ? v : minima;
    }
    for (; i < channels; i++) {
      minimum = smaller((narrow(i) - mean) * factor * weight[first + i] + bias[first + i], minimum);
    }
  }
  for (int lane = 0; lane < V; lane++) minimum = smaller(minima[lane], minimum);
  return minimum;
}

static int thread_count(long long wanted) { return THREADS > 0 ? THREADS : static_cast<int>(wanted); }

// y (n, c); linear_bias (c), still to be added to y, or null; weight and bias (c); minima (n).
extern "C" int group_min(const float* y, const float* linear_bias, const float* weight, const float* bias,
                         float* minima, long long n, long long c, long long g, double eps, long long threads, void*) {
  parallel_for(n, ROWS, thread_count(threads), [&](long long begin, long long end) {
    for (long long i = begin; i < end; i++) {
      const auto minimum_of = linear_bias == nullptr ? row_minimum<false> : row_minimum<true>;
      minima[i] = minimum_of(y + i * c, linear_bias, weight, bias, c, g, static_cast<float>(eps));
    }
  });
  return 0;
}

// minima (slices, n), bias (biases), out (biases, n): out[b, i] = (minimum over the slices of minima[slice, i]) + bias[b].
extern "C" int add_bias(const float* minima, const float* bias, float* out, long long slices, long long n,
                        long long biases, long long threads, void*) {
  std::vector<float> lowest(minima, minima + n);
  for (long long slice = 1; slice < slices; slice++) {
    for (long long i = 0; i < n; i++) lowest[i] = smaller(lowest[i], minima[slice * n + i]);
  }
  const float* const row = lowest.data();
  parallel_for(biases, BIASES, thread_count(threads), [&](long long begin, long long end) {
    for (long long b = begin; b < end; b++) {
      for (long long i = 0; i < n; i++) out[b * n + i] = row[i] + bias[b];
    }
  });
  return 0;
}
