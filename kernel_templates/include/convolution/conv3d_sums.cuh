// How a lane turns finished rows of tensor-core accumulators into statistics, and a block its warps' statistics into
// its result. WARPS (of a block) and CHANNEL_TILES (of 8 output channels, a block) are defined ahead.
#pragma once
#include "convolution/conv3d_moments.cuh"

// A lane's running statistics of the channels that it holds in the layout of accumulators, 8 i + 2t + j. All lanes of
// a warp that hold a channel share its pivot, so that their sums add up.
template <class Activation>
struct AccumulatorSums {
  RunningSums sums[CHANNEL_TILES][2];
  float factor[CHANNEL_TILES][2], bias[CHANNEL_TILES][2];  // y * factor + bias is what the activation takes

  __device__ __forceinline__ void start(const Conv3d& c, int channel0, float scale, const float* scales) {
#pragma unroll
    for (int i = 0; i < CHANNEL_TILES; i++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const int channel = i * 8 + 2 * (threadIdx.x % 4) + j;
        sums[i][j] = {0.0f, 0.0f, 0.0f};
        factor[i][j] = 1.0f / scale * (1.0f / scales[channel]) * (1.0f / Activation::SCALE);
        const bool biased = !Activation::LINEAR && c.bias && channel0 + channel < c.out;
        bias[i][j] = biased ? c.bias[channel0 + channel] / Activation::SCALE : 0.0f;
      }
    }
  }

  __device__ __forceinline__ float value(float y, int i, int j) const {
    if constexpr (Activation::LINEAR) return y;
    return Activation()(fmaf(y, factor[i][j], bias[i][j]));
  }

  // The pivots: column 0 of this row, which is always real.
  __device__ __forceinline__ void pivot_at(const float* row) {
#pragma unroll
    for (int i = 0; i < CHANNEL_TILES; i++) {
#pragma unroll
      for (int j = 0; j < 2; j++) sums[i][j].pivot = __shfl_sync(~0u, value(row[4 * i + j], i, j), threadIdx.x % 4);
    }
  }

  // One row of accumulators: columns g and g + 8 of each channel, where they are real.
  __device__ __forceinline__ void add(const float* row, const bool (&real)[2]) {
#pragma unroll
    for (int i = 0; i < CHANNEL_TILES; i++) {
#pragma unroll
      for (int j = 0; j < 4; j++) {
        if (real[j / 2]) sums[i][j % 2].add(value(row[4 * i + j], i, j % 2));
      }
    }
  }

  // Adds up over the eight lanes with the same channels, undoes the scales (not the activation's) and stores the warp's
  // totals, or when they are not the `first` adds to them.
  __device__ __forceinline__ void finish(int count, float scale, const float* scales, Moments<double>* totals,
                                         bool first) const {
    count = warp_reduce<32, 4>(count, Sum{});
    const double per_count = count > 0 ? 1.0 / count : 0.0;
#pragma unroll
    for (int i = 0; i < CHANNEL_TILES; i++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const double sum = warp_reduce<32, 4>(static_cast<double>(sums[i][j].sum), Sum{});
        const double square = warp_reduce<32, 4>(static_cast<double>(sums[i][j].square), Sum{});
        if (threadIdx.x % 32 < 4) {
          const int channel = i * 8 + 2 * (threadIdx.x % 4) + j;
          const double unscale = Activation::LINEAR ? 1.0 / (static_cast<double>(scale) * scales[channel]) : 1.0;
          Moments<double> own{0.0, 0.0, 0.0};
          if (count > 0) {
            own = {static_cast<double>(count), (sums[i][j].pivot + sum * per_count) * unscale,
                   (square - sum * sum * per_count) * unscale * unscale};
          }
          totals[channel] = first ? own : merge(totals[channel], own);
        }
      }
    }
  }
};

// The block's result: the totals (warp, channel) of its warps.
template <class Activation>
__device__ void write_totals(const Conv3d& c, int channel0, int n, int slot, const Moments<double>* totals,
                                    double2* moments) {
  constexpr int CHANNELS = 8 * CHANNEL_TILES;
  for (int channel = threadIdx.x; channel < min(CHANNELS, c.out - channel0); channel += 32 * WARPS) {
    Moments<double> total = totals[channel];
    for (int i = 1; i < WARPS; i++) total = merge(total, totals[i * CHANNELS + channel]);
    store_moments<Activation>(c, total, n, channel0 + channel, slot, moments);
  }
}
