// Direct 3D convolution on the CPU whose output is never stored: each tile of it goes from registers into the
// statistics of its channel.
//
// A tile is CHANNELS output channels times POSITIONS vectors of VECTOR_WIDTH output positions, all in registers. An
// output plane is walked as one run over the rows of the *input* plane, so that neighbouring positions always lie side
// by side in memory: the kernel - 1 positions at each row's end belong to no output and are masked out of the sums.
//
// The including source gives VECTOR_WIDTH, POSITIONS, CHANNELS, PLANES, TAPS, REPACK and OUTER (see its knobs).
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/parallel.hpp"
#include "core/simd.hpp"
#include "numerics/activation.cuh"
#include "numerics/moments.cuh"

constexpr int TILE = POSITIONS * VECTOR_WIDTH;
using Lanes = Floats<VECTOR_WIDTH>;
typedef std::int32_t Mask __attribute__((vector_size(4 * VECTOR_WIDTH)));

// Sizes in elements. x is (n, in_channels, size[0..2]) with `stride`; weight (out_channels, in_channels, kernel[0..2]).
struct Conv {
  long long n, in_channels, size[3], stride[5], out_channels, kernel[3];

  long long out(int axis) const { return size[axis] - kernel[axis] + 1; }
  long long taps() const { return in_channels * kernel[0] * kernel[1] * kernel[2]; }
  long long channel_tiles() const { return (out_channels + CHANNELS - 1) / CHANNELS; }
  long long slabs() const { return (out(0) + PLANES - 1) / PLANES; }  // of PLANES output planes each, the last shorter
};

// Weights as the tiles read them: [channel tile][tap][channel in tile], and the bias; channels that pad the last tile
// are zero.
struct PackedWeights {
  std::vector<float> weight, bias;

  PackedWeights(const Conv& conv, const float* from, const float* conv_bias)
      : weight(conv.channel_tiles() * CHANNELS * conv.taps()), bias(conv.channel_tiles() * CHANNELS) {
    const long long taps = conv.taps();
    for (long long c = 0; c < conv.out_channels; c++) {
      float* to = &weight[c / CHANNELS * taps * CHANNELS + c % CHANNELS];
      for (long long tap = 0; tap < taps; tap++) to[tap * CHANNELS] = from[c * taps + tap];
      if (conv_bias) bias[c] = conv_bias[c];
    }
  }
};

// The tiles of one output plane. The last one is pulled back to end with the plane where the plane is long enough, so
// that nothing beyond the input plane is read; `mask` is all ones where a lane is an output that no earlier tile had.
struct PlaneTiles {
  std::vector<long long> start;
  std::vector<std::int32_t> mask;

  explicit PlaneTiles(const Conv& conv) {
    const long long row = conv.size[2], reach = (conv.out(1) - 1) * row + conv.out(2);
    for (long long fresh = 0; fresh < reach; fresh += TILE) {
      start.push_back(std::min(fresh, std::max(reach - TILE, 0LL)));
      for (long long at = start.back(); at < start.back() + TILE; at++) {
        mask.push_back(at >= fresh && at < reach && at % row < conv.out(2) ? -1 : 0);
      }
    }
  }

  bool may_overread(const Conv& conv) const { return TILE > (conv.out(1) - 1) * conv.size[2] + conv.out(2); }
};

// Where a slab's input is: one sample's planes, rows dense.
struct Input {
  const float* at;
  long long channel_stride, plane_stride;
};

// One tile's outputs, without bias. K is the kernel's innermost size, 0 for any.
template <int K>
inline __attribute__((always_inline)) void convolve(const Conv& conv, const Input& in, const float* weight,
                                                    Lanes (&acc)[CHANNELS][POSITIONS]) {
#pragma GCC unroll 64
  for (int c = 0; c < CHANNELS; c++) {
#pragma GCC unroll 64
    for (int p = 0; p < POSITIONS; p++) acc[c][p] = Lanes{};
  }
  const auto tap = [&](const float* x) __attribute__((always_inline)) {
    Lanes v[POSITIONS];
#pragma GCC unroll 64
    for (int p = 0; p < POSITIONS; p++) v[p] = load<VECTOR_WIDTH>(x + p * VECTOR_WIDTH);
#pragma GCC unroll 64
    for (int c = 0; c < CHANNELS; c++) {
#pragma GCC unroll 64
      for (int p = 0; p < POSITIONS; p++) acc[c][p] += v[p] * weight[c];
    }
    weight += CHANNELS;
  };
  for (long long i = 0; i < conv.in_channels; i++) {
    for (long long kd = 0; kd < conv.kernel[0]; kd++) {
      const float* x = in.at + i * in.channel_stride + kd * in.plane_stride;
      for (long long kh = 0; kh < conv.kernel[1]; kh++, x += conv.size[2]) {
        if constexpr (K > 0) {
#pragma GCC unroll 8
          for (int kw = 0; kw < K; kw++) tap(x + kw);
        } else {
          for (long long kw = 0; kw < conv.kernel[2]; kw++) tap(x + kw);
        }
      }
    }
  }
}

// The same for any kernel, as a call: compiled once, and what it needs costs the loops around it no registers.
__attribute__((noinline)) static void convolve_any(const Conv& conv, const Input& in, const float* weight,
                                                   Lanes (&acc)[CHANNELS][POSITIONS]) {
  convolve<0>(conv, in, weight, acc);
}

// Of every channel, the mean over the first tile.
template <class Activation>
std::vector<float> first_means(const Conv& conv, const Input& in, const PackedWeights& weights,
                               const PlaneTiles& tiles) {
  constexpr float factor = 1.0f / Activation::SCALE;
  std::vector<float> means(conv.channel_tiles() * CHANNELS);
  for (long long t = 0; t < conv.channel_tiles(); t++) {
    Lanes acc[CHANNELS][POSITIONS];
    convolve_any(conv, in, &weights.weight[t * conv.taps() * CHANNELS], acc);
    for (long long c = 0; c < CHANNELS; c++) {
      double sum = 0.0, count = 0.0;
      for (int p = 0; p < POSITIONS; p++) {
        const Lanes y = Activation()(acc[c][p] * factor + weights.bias[t * CHANNELS + c] * factor);
        for (int lane = 0; lane < VECTOR_WIDTH; lane++) {
          if (tiles.mask[p * VECTOR_WIDTH + lane]) sum += y[lane], count += 1.0;
        }
      }
      means[t * CHANNELS + c] = static_cast<float>(sum / count);
    }
  }
  return means;
}

// Adds the moments of `planes` output planes to out[out_channels] (in the activation's unit).
//
// Within a plane the sums are of (y - shift) * unit in float, where shift is the channel's mean so far, so they do not
// cancel; planes are merged in double. False when a square overflowed float: then the caller takes a smaller unit, a
// power of two, which changes no bit of a mantissa.
template <class Activation>
bool add_planes(const Conv& conv, Input in, const PackedWeights& weights, const PlaneTiles& tiles, long long planes,
                float unit, Moments<double>* out) {
  struct Sums {
    Lanes sum[1], square[1];
  };
  constexpr float factor = 1.0f / Activation::SCALE;
  const long long channel_tiles = conv.channel_tiles(), tile_weights = conv.taps() * CHANNELS;
  std::vector<Sums> sums(channel_tiles * CHANNELS);
  std::vector<float> shift = first_means<Activation>(conv, in, weights, tiles);

  const auto add_tile = [&](long long tile, long long t) __attribute__((always_inline)) {
    Lanes acc[CHANNELS][POSITIONS];
    const Input from{in.at + tiles.start[tile], in.channel_stride, in.plane_stride};
    const float* weight = &weights.weight[t * tile_weights];
    if (TAPS == 0 || conv.kernel[2] == TAPS) {
      convolve<TAPS>(conv, from, weight, acc);
    } else {  // tuned for another kernel
      Lanes any[CHANNELS][POSITIONS];  // handed on by address, so it lies in memory; `acc` stays in registers
      convolve_any(conv, from, weight, any);
      std::memcpy(acc, any, sizeof acc);
    }
    Mask mask[POSITIONS];
    std::memcpy(mask, &tiles.mask[tile * TILE], sizeof mask);
#pragma GCC unroll 64
    for (int c = 0; c < CHANNELS; c++) {
      Sums& total = sums[t * CHANNELS + c];
      const float bias = weights.bias[t * CHANNELS + c] * factor, down = -unit * shift[t * CHANNELS + c];
      Lanes sum = total.sum[0], square = total.square[0];
#pragma GCC unroll 64
      for (int p = 0; p < POSITIONS; p++) {
        const Lanes d = (Lanes)((Mask)(Activation()(acc[c][p] * factor + bias) * unit + down) & mask[p]);
        sum += d;
        square += d * d;
      }
      total.sum[0] = sum, total.square[0] = square;
    }
  };

  const double count = static_cast<double>(conv.out(1) * conv.out(2));
  const long long plane_tiles = static_cast<long long>(tiles.start.size());
  for (long long plane = 0; plane < planes; plane++, in.at += in.plane_stride) {
    std::fill(sums.begin(), sums.end(), Sums{});
#if OUTER == OUTER_POSITIONS
    for (long long tile = 0; tile < plane_tiles; tile++) {
      for (long long t = 0; t < channel_tiles; t++) add_tile(tile, t);
    }
#else
    for (long long t = 0; t < channel_tiles; t++) {
      for (long long tile = 0; tile < plane_tiles; tile++) add_tile(tile, t);
    }
#endif
    for (long long c = 0; c < conv.out_channels; c++) {
      const double sum = sum_lanes<VECTOR_WIDTH>(sums[c].sum), square = sum_lanes<VECTOR_WIDTH>(sums[c].square);
      if (!std::isfinite(square) && unit == 1.0f) return false;
      const double m2 = square - sum * sum / count, wide = unit;
      out[c] = merge(out[c], {count, shift[c] + sum / count / wide, (m2 < 0.0 ? 0.0 : m2) / (wide * wide)});
      shift[c] = static_cast<float>(out[c].mean);
    }
  }
  return true;
}

// Copies input planes [first, first + planes) of one sample, dense, with TILE zeros behind them.
inline Input repack(const Conv& conv, const float* sample, long long first, long long planes,
                    std::vector<float>& buffer) {
  const long long row = conv.size[2], plane = conv.size[1] * row, dense = planes * plane;
  buffer.assign(conv.in_channels * dense + TILE, 0.0f);
  float* to = buffer.data();
  for (long long i = 0; i < conv.in_channels; i++) {
    for (long long d = first; d < first + planes; d++) {
      for (long long h = 0; h < conv.size[1]; h++, to += row) {
        const float* from = sample + i * conv.stride[1] + d * conv.stride[2] + h * conv.stride[3];
        for (long long w = 0; w < row; w++) to[w] = from[w * conv.stride[4]];
      }
    }
  }
  return {buffer.data(), dense, plane};
}

// Moments of Activation(conv(x) + bias) for every sample and channel: (n, out_channels). The result depends on the
// arguments alone, not on `threads`. `conv_bias` may be null.
template <class Activation>
std::vector<Moments<double>> channel_moments(const Conv& conv, const float* x, const float* weight, const float* conv_bias,
                                         int threads) {
  const PackedWeights weights(conv, weight, conv_bias);
  const PlaneTiles tiles(conv);
  const bool in_place = !REPACK && conv.stride[4] == 1 && conv.stride[3] == conv.size[2] && !tiles.may_overread(conv);
  const long long slabs = conv.slabs(), channels = conv.out_channels;
  std::vector<Moments<double>> parts(conv.n * slabs * channels);

  parallel_for(conv.n * slabs, 1, threads, [&](long long begin, long long end) {
    std::vector<float> buffer;
    for (long long part = begin; part < end; part++) {
      const long long first = part % slabs * PLANES, planes = std::min<long long>(PLANES, conv.out(0) - first);
      const float* sample = x + part / slabs * conv.stride[0];
      const Input in = in_place
                           ? Input{sample + first * conv.stride[2], conv.stride[1], conv.stride[2]}
                           : repack(conv, sample, first, planes + conv.kernel[0] - 1, buffer);
      Moments<double>* out = &parts[part * channels];
      for (const float unit : {1.0f, 0x1p-80f}) {  // one call, so that it is compiled once
        std::fill(out, out + channels, Moments<double>{});
        if (add_planes<Activation>(conv, in, weights, tiles, planes, unit, out)) break;
      }
    }
  });

  std::vector<Moments<double>> moments(conv.n * channels);
  for (long long i = 0; i < conv.n; i++) {
    for (long long part = 0; part < slabs; part++) {
      const Moments<double>* from = &parts[(i * slabs + part) * channels];
      for (long long c = 0; c < channels; c++) moments[i * channels + c] = merge(moments[i * channels + c], from[c]);
    }
  }
  constexpr double SCALE = Activation::SCALE;
  for (Moments<double>& m : moments) m.mean *= SCALE, m.m2 *= SCALE * SCALE;
  return moments;
}
