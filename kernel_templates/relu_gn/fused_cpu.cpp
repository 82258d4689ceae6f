// ReLU and GroupNorm over a convolution's output: one read for the statistics, one for the result.
#include <cmath>
#include <vector>

#include "core/parallel.hpp"
#include "core/simd.hpp"
#include "numerics/activation.cuh"
#include "numerics/moments.cuh"

#ifndef VECTOR_WIDTH  // floats a vector
#define VECTOR_WIDTH 16
#endif
#ifndef ACCUMULATORS  // vectors that are added to in turn
#define ACCUMULATORS 4
#endif
#ifndef GRAIN  // groups, or runs of positions, that a thread takes at a time
#define GRAIN 1
#endif
#ifndef RUN  // positions of a run, channels last
#define RUN 64
#endif
#ifndef THREADS
#define THREADS 2
#endif

namespace {

constexpr int V = VECTOR_WIDTH, A = ACCUMULATORS;
constexpr int CHUNK = 16 * V * A;  // values condensed in float before they are added in double

// Turns relu(v) into the result. Two steps from v to its distance from the mean lose nothing under a large offset.
struct Normalise {
  float pivot, mean, scale, shift;  // mean: less the pivot

  template <class T>
  T operator()(T v) const {
    return (Relu()(v) - pivot - mean) * scale + shift;
  }
};

// Of relu(y[0, count)), about pivot.
PivotSums sums_of(const float* y, long long count, float pivot) {
  PivotSums total = {0.0, 0.0};
  long long at = 0;
  for (; at + CHUNK <= count; at += CHUNK) {
    Floats<V> sums[A] = {}, squares[A] = {};
    for (int i = 0; i < CHUNK; i += V * A) {
      for (int a = 0; a < A; a++) sums[a] += Relu()(load<V>(y + at + i + a * V)) - pivot;
    }
    const double sum = sum_lanes<V, A>(sums);
    const float mean = static_cast<float>(sum / CHUNK);
    for (int i = 0; i < CHUNK; i += V * A) {
      for (int a = 0; a < A; a++) {
        const Floats<V> d = Relu()(load<V>(y + at + i + a * V)) - pivot - mean;
        squares[a] += d * d;
      }
    }
    add_chunk(total, sum, sum_lanes<V, A>(squares), 1.0 / CHUNK);
  }
  for (; at < count; at++) add_chunk(total, Relu()(y[at]) - pivot, 0.0, 1.0);
  return total;
}

// relu(y[p][c]) - pivot[c] of `positions` rows, added up for each channel; rows of CHUNK / V / A at a time as above.
void add_rows(const float* y, long long positions, long long channels, const float* pivot, PivotSums* totals) {
  constexpr int ROWS = 16;
  const auto add = [&](auto zero, long long c, long long first, int rows) {  // for as many channels as `zero` has
    using T = decltype(zero);
    constexpr int W = sizeof(T) / sizeof(float);
    T about, sums = {}, squares = {};
    std::memcpy(&about, pivot + c, sizeof about);
    const auto row = [&](int i) {
      T v;
      std::memcpy(&v, y + (first + i) * channels + c, sizeof v);
      return Relu()(v) - about;
    };
    for (int i = 0; i < rows; i++) sums += row(i);
    const T mean = sums / static_cast<float>(rows);
    for (int i = 0; i < rows; i++) squares += (row(i) - mean) * (row(i) - mean);
    float sum[W], square[W];
    std::memcpy(sum, &sums, sizeof sum);
    std::memcpy(square, &squares, sizeof square);
    for (int j = 0; j < W; j++) add_chunk(totals[c + j], sum[j], square[j], 1.0 / rows);
  };
  for (long long first = 0; first < positions; first += ROWS) {
    const int rows = static_cast<int>(std::min<long long>(ROWS, positions - first));
    long long c = 0;
    for (; c + V <= channels; c += V) add(Floats<V>{}, c, first, rows);
    for (; c < channels; c++) add(0.0f, c, first, rows);
  }
}

}  // namespace

extern "C" const char* tuner_error(int) { return "failed"; }

// y (samples, channels, positions) -> result, likewise; both may be the same.
extern "C" int normalise_contiguous(const float* y, float* result, const float* gamma, const float* beta,
                                    long long samples, long long channels, long long positions, long long groups,
                                    double eps, void*) {
  const long long width = channels / groups, count = width * positions;
  parallel_for(samples * groups, GRAIN, THREADS, [&](long long begin, long long end) {
    for (long long pair = begin; pair < end; pair++) {
      const float pivot = Relu()(y[pair * count]);
      const PivotSums sums = sums_of(y + pair * count, count, pivot);
      const float mean = static_cast<float>(mean_of(sums, count));
      const double rstd = 1.0 / std::sqrt(m2_of(sums, count) / count + eps);
      for (long long c = 0; c < width; c++) {
        const long long channel = pair % groups * width + c;
        const Normalise normalise = {pivot, mean, static_cast<float>(gamma[channel] * rstd), beta[channel]};
        const float* from = y + pair * count + c * positions;
        float* to = result + pair * count + c * positions;
        long long at = 0;
        for (; at + V <= positions; at += V) store<V>(to + at, normalise(load<V>(from + at)));
        for (; at < positions; at++) to[at] = normalise(from[at]);
      }
    }
  });
  return 0;
}

// y (samples, positions, channels) -> result (samples, channels, positions)
extern "C" int normalise_channels_last(const float* y, float* result, const float* gamma, const float* beta,
                                       long long samples, long long channels, long long positions, long long groups,
                                       double eps, void*) {
  const long long width = channels / groups, runs = (positions + RUN - 1) / RUN;
  std::vector<float> pivots(samples * channels);  // a channel's first value
  for (long long n = 0; n < samples; n++) {
    for (long long c = 0; c < channels; c++) pivots[n * channels + c] = Relu()(y[n * positions * channels + c]);
  }
  std::vector<PivotSums> sums(samples * runs * channels, PivotSums{0.0, 0.0});
  parallel_for(samples * runs, GRAIN, THREADS, [&](long long begin, long long end) {
    for (long long run = begin; run < end; run++) {
      const long long n = run / runs, first = run % runs * RUN;
      add_rows(y + (n * positions + first) * channels, std::min<long long>(RUN, positions - first), channels,
               &pivots[n * channels], &sums[run * channels]);
    }
  });
  std::vector<Normalise> constants(samples * channels);
  for (long long pair = 0; pair < samples * groups; pair++) {
    const long long n = pair / groups, first = pair % groups * width;
    std::vector<double> means(width);
    double mean = 0.0, m2 = 0.0;
    const float pivot = pivots[n * channels + first];  // the group's channels differ in theirs
    for (long long c = 0; c < width; c++) {
      PivotSums total = {0.0, 0.0};
      for (long long run = n * runs; run < (n + 1) * runs; run++) total = total + sums[run * channels + first + c];
      const double above = static_cast<double>(pivots[n * channels + first + c]) - pivot;
      means[c] = above + mean_of(total, positions);
      mean += means[c] / width;
      m2 += m2_of(total, positions);
    }
    for (const double each : means) m2 += positions * (each - mean) * (each - mean);
    const double rstd = 1.0 / std::sqrt(m2 / (width * positions) + eps);
    for (long long c = first; c < first + width; c++) {
      constants[n * channels + c] = {pivot, static_cast<float>(mean), static_cast<float>(gamma[c] * rstd), beta[c]};
    }
  }
  parallel_for(samples * runs, GRAIN, THREADS, [&](long long begin, long long end) {
    for (long long run = begin; run < end; run++) {
      const long long n = run / runs, first = run % runs * RUN, last = std::min(first + RUN, positions);
      long long at = first;
      const auto turn = [&](int count) {  // `count` positions of every channel, read from the first-level cache
        const float* from = y + (n * positions + at) * channels;
        for (long long c = 0; c < channels; c++) {
          const Normalise normalise = constants[n * channels + c];
          float* to = result + (n * channels + c) * positions + at;
          for (int i = 0; i < count; i++) to[i] = normalise(from[i * channels + c]);
        }
      };
      for (; at + 16 <= last; at += 16) turn(16);
      if (at < last) turn(static_cast<int>(last - at));
    }
  });
  return 0;
}
