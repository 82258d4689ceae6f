// What the convolutions from shared memory have in common: how the input gets there, scaled for fp16 operands where
// they use those, and how a lane turns finished rows of tensor-core accumulators into statistics.
// WARPS (of a block) and CHANNEL_TILES (of 8 output channels, a block) are defined ahead.
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

// Starts copying the input under output planes [d0, d0 + planes) and rows [h0, h0 + rows) of one sample to `box`.
__device__ inline void copy_input(const Conv3d& c, const float* sample, Box part, int pitch, uint32_t* box) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int images = (part.planes + c.taps - 1) * c.in, words = (part.rows + c.taps - 1) * c.w;
  for (int image = warp; image < images; image += WARPS) {
    const long long plane = static_cast<long long>(image % c.in) * c.d + part.d0 + image / c.in;
    const float* from = sample + (plane * c.h + part.h0) * c.w;
    uint32_t* to = box + image * pitch;
    if (c.w % 4 == 0) {
      for (int i = 4 * lane; i < words; i += 128) copy_async<16>(to + i, from + i);
    } else {
      for (int i = lane; i < words; i += 32) copy_async<4>(to + i, from + i);
    }
  }
}

__device__ __forceinline__ float largest_of(uint32_t v) { return fabsf(__uint_as_float(v)); }
__device__ __forceinline__ float largest_of(uint4 v) {
  return fmaxf(fmaxf(largest_of(v.x), largest_of(v.y)), fmaxf(largest_of(v.z), largest_of(v.w)));
}

__device__ __forceinline__ uint32_t split_scaled(uint32_t v, float scale) {
  return split_fp16(__uint_as_float(v) * scale);
}
__device__ __forceinline__ uint4 split_scaled(uint4 v, float scale) {
  return {split_scaled(v.x, scale), split_scaled(v.y, scale), split_scaled(v.z, scale), split_scaled(v.w, scale)};
}

__device__ __forceinline__ uint32_t first_of(uint32_t v) { return v; }
__device__ __forceinline__ uint32_t first_of(uint4 v) { return v.x; }

// Each value scaled and rounded to half, with the one behind it in the upper half; `next` is behind the last.
__device__ __forceinline__ uint32_t pair_scaled(uint32_t v, uint32_t next, float scale) {
  return pack_fp16(__uint_as_float(v) * scale, __uint_as_float(next) * scale);
}
__device__ __forceinline__ uint4 pair_scaled(uint4 v, uint32_t next, float scale) {
  return {pair_scaled(v.x, v.y, scale), pair_scaled(v.y, v.z, scale), pair_scaled(v.z, v.w, scale),
          pair_scaled(v.w, next, scale)};
}

// Scales and splits for fp16 what this thread copied itself, so that one barrier is enough: V is what it copied at
// a time. With PAIRED a word gets the high parts of a value and of the next one instead of both parts of one value.
// Returns the power of two that all values were multiplied by.
template <class V, bool PAIRED>
__device__ float split_input(const Conv3d& c, Box part, int pitch, float* maxima, uint32_t* box) {
  constexpr int WIDTH = sizeof(V) / 4;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int images = (part.planes + c.taps - 1) * c.in;
  const int vectors = (part.rows + c.taps - 1) * c.w / WIDTH;
  float largest = 0.0f;
  for (int image = warp; image < images; image += WARPS) {
    const V* own = reinterpret_cast<const V*>(box + image * pitch);
#pragma unroll 4
    for (int i = lane; i < vectors; i += 32) largest = fmaxf(largest, largest_of(own[i]));
  }
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, mask));
  if (lane == 0) maxima[warp] = largest;
  __syncthreads();
  for (int i = 0; i < WARPS; i++) largest = fmaxf(largest, maxima[i]);
  const float scale = scale_for(largest);
  for (int image = warp; image < images; image += WARPS) {
    V* own = reinterpret_cast<V*>(box + image * pitch);
    if constexpr (PAIRED) {
#pragma unroll 4
      for (int start = 0; start < vectors; start += 32) {
        const int i = start + lane;
        V v{};
        if (i < vectors) v = own[i];
        uint32_t next = __shfl_sync(~0u, first_of(v), (lane + 1) % 32);
        if (lane == 31) next = i + 1 < vectors ? first_of(own[i + 1]) : 0u;
        __syncwarp();  // read before the next turn overwrites it
        if (i < vectors) own[i] = pair_scaled(v, next, scale);
      }
    } else {
#pragma unroll 4
      for (int i = lane; i < vectors; i += 32) own[i] = split_scaled(own[i], scale);
    }
  }
  return scale;
}

// Until the copied input is there for all threads, split (or PAIRED) in place for fp16 operands. Returns its scale.
template <bool HALF, bool PAIRED = false>
__device__ float finish_input(const Conv3d& c, Box part, int pitch, float* maxima, uint32_t* box) {
  wait_copies();
  float scale = 1.0f;
  if constexpr (HALF) {
    scale = c.w % 4 == 0 ? split_input<uint4, PAIRED>(c, part, pitch, maxima, box)
                         : split_input<uint32_t, PAIRED>(c, part, pitch, maxima, box);
  }
  __syncthreads();
  return scale;
}

// The part of the slot `whole` that starts `d` planes and `h` rows in.
__device__ __forceinline__ Box part_of(const Conv3d& c, Box whole, int d, int h) {
  return {whole.d0 + d, whole.h0 + h, min(c.part_d, whole.planes - d), min(c.part_h, whole.rows - h)};
}

__device__ __forceinline__ int pitch_of(const Conv3d& c, Box part) {
  return image_pitch((part.rows + c.taps - 1) * c.w);
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
