// What the tensor-core convolutions share: how the input comes to shared memory, scaled for fp16 operands where they
// use those, and how a lane turns finished rows of accumulators into statistics.
// WARPS (of a block) and CHANNEL_TILES (of 8 output channels, a warp) are defined ahead.
#pragma once
#include "async_copy.cuh"
#include "conv3d_moments.cuh"
#include "mma.cuh"

// 2^e with |largest| * 2^e in [2^14, 2^15), or as near as a float's exponent allows; 1 for zero, Inf and NaN.
__device__ __forceinline__ float scale_for(float largest) {
  if (!(largest > 0.0f && largest < INFINITY)) return 1.0f;
  const int e = 14 - ilogbf(largest);
  return scalbnf(1.0f, e < 110 ? e : 110);
}

// scales[i] = the power of two for output channel channel0 + i's weights; 1 for operands that need none.
template <bool HALF>
__device__ void scale_channels(const Conv3d& c, int channel0, int channels, float* scales) {
  const int count = c.in * c.taps * c.taps * c.taps;
  for (int channel = threadIdx.x / 32; channel < channels; channel += WARPS) {
    float largest = 0.0f;
    if (HALF && channel0 + channel < c.out) {
      const float* weight = c.weight + static_cast<long long>(channel0 + channel) * count;
      for (int i = threadIdx.x % 32; i < count; i += 32) largest = fmaxf(largest, fabsf(weight[i]));
    }
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, mask));
    if (threadIdx.x % 32 == 0) scales[channel] = scale_for(largest);
  }
}

// Words between the (plane, channel) images of the box: four lanes that read four successive k at eight successive
// columns then meet no bank twice, whether the k lie in one row of weights or in two.
__host__ __device__ inline int image_pitch(int words) { return words + (48 - words % 32) % 32; }

// Copies the input under output planes [d0, d0 + planes) and rows [h0, h0 + rows) of one sample; for fp16 operands it
// also scales and splits them. Returns the power of two that the values were multiplied by.
template <int IN, int TAPS, bool HALF>
__device__ float stage_input(const Conv3d& c, const float* sample, Box part, int pitch, float* maxima, uint32_t* box) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int images = (part.planes + TAPS - 1) * IN, words = (part.rows + TAPS - 1) * c.w;
  const bool whole_vectors = c.w % 4 == 0;
  for (int image = warp; image < images; image += WARPS) {
    const long long plane = static_cast<long long>(image % IN) * c.d + part.d0 + image / IN;
    const float* from = sample + (plane * c.h + part.h0) * c.w;
    uint32_t* to = box + image * pitch;
    if (whole_vectors) {
      for (int i = 4 * lane; i < words; i += 128) copy_async<16>(to + i, from + i);
    } else {
      for (int i = lane; i < words; i += 32) copy_async<4>(to + i, from + i);
    }
  }
  wait_copies();
  float scale = 1.0f;
  if constexpr (HALF) {
    // Each thread reads and rewrites what it copied itself, so one barrier is enough.
    const int span = whole_vectors ? 4 : 1;
    float largest = 0.0f;
    for (int image = warp; image < images; image += WARPS) {
      for (int i = span * lane; i < words; i += span * 32) {
        for (int j = 0; j < span; j++) largest = fmaxf(largest, fabsf(__uint_as_float(box[image * pitch + i + j])));
      }
    }
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, mask));
    if (lane == 0) maxima[warp] = largest;
    __syncthreads();
    for (int i = 0; i < WARPS; i++) largest = fmaxf(largest, maxima[i]);
    scale = scale_for(largest);
    for (int image = warp; image < images; image += WARPS) {
      for (int i = span * lane; i < words; i += span * 32) {
        for (int j = 0; j < span; j++) {
          uint32_t& word = box[image * pitch + i + j];
          word = split_fp16(__uint_as_float(word) * scale);
        }
      }
    }
  }
  __syncthreads();
  return scale;
}

// Makes a staged part as large as the slot, or as much of it as one block's shared memory takes.
// False when not even one row fits.
template <class S>
bool fit(Conv3d& c, long long shared_bytes) {
  while (S::shared_bytes(c, c.part_d, c.part_h) > shared_bytes) {
    if (c.part_d > 1) {
      c.part_d--;
    } else if (c.part_h > 1) {
      c.part_h--;
    } else {
      return false;
    }
  }
  return true;
}

// A lane's running statistics of the channels that it holds in the layout of accumulators: 8 i + 2t + j.
template <bool HARDSWISH>
struct LaneSums {
  PivotedSums sums[CHANNEL_TILES][2];
  float factor[CHANNEL_TILES][2], bias[CHANNEL_TILES][2];  // hardswish needs the true values: y * factor + bias

  __device__ __forceinline__ void start(const Conv3d& c, int channel0, float scale, const float* scales) {
#pragma unroll
    for (int i = 0; i < CHANNEL_TILES; i++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const int channel = i * 8 + 2 * (threadIdx.x % 4) + j;
        sums[i][j] = {0.0f, 0.0f, 0.0f};
        factor[i][j] = 1.0f / scale * (1.0f / scales[channel]);
        bias[i][j] = HARDSWISH && c.bias && channel0 + channel < c.out ? c.bias[channel0 + channel] : 0.0f;
      }
    }
  }

  // One row of accumulators: columns g and g + 8 of each channel, where they are real.
  __device__ __forceinline__ void add(const float (&row)[CHANNEL_TILES][4], const bool (&real)[2], bool first) {
#pragma unroll
    for (int i = 0; i < CHANNEL_TILES; i++) {
#pragma unroll
      for (int j = 0; j < 4; j++) {
        float y = row[i][j];
        if constexpr (HARDSWISH) y = hardswish(fmaf(y, factor[i][j % 2], bias[i][j % 2]));
        PivotedSums& own = sums[i][j % 2];
        if (first && j < 2) own.pivot = y;
        if (real[j / 2]) own.add(y);
      }
    }
  }

  // Merges over the eight lanes with the same channels, undoes the scales and adds to the warp's totals.
  __device__ __forceinline__ void finish(int count, float scale, const float* scales, WideMoments* totals) const {
    const double per_count = count > 0 ? 1.0 / count : 0.0;
#pragma unroll
    for (int i = 0; i < CHANNEL_TILES; i++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const int channel = i * 8 + 2 * (threadIdx.x % 4) + j;
        WideMoments own{0.0, 0.0, 0.0};
        if (count > 0) own = sums[i][j].moments(count, per_count);
#pragma unroll
        for (int mask = 4; mask < 32; mask *= 2) own = merge(own, shuffle_xor(own, mask));
        if (!HARDSWISH) {
          const double unscale = 1.0 / (static_cast<double>(scale) * scales[channel]);
          own.mean *= unscale;
          own.m2 *= unscale * unscale;
        }
        if (threadIdx.x % 32 < 4) totals[channel] = merge(totals[channel], own);
      }
    }
  }
};

// The block's result: the totals (warp, channel) of its warps.
__device__ inline void write_totals(const Conv3d& c, int channel0, int n, int slot, const WideMoments* totals,
                                    double2* moments) {
  constexpr int CHANNELS = 8 * CHANNEL_TILES;
  for (int channel = threadIdx.x; channel < min(CHANNELS, c.out - channel0); channel += 32 * WARPS) {
    WideMoments total = totals[channel];
    for (int i = 1; i < WARPS; i++) total = merge(total, totals[i * CHANNELS + channel]);
    moments[(static_cast<long long>(n) * c.out + channel0 + channel) * c.slots + slot] = {total.mean, total.m2};
  }
}
