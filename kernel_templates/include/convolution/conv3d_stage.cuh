// How a convolution's input gets to shared memory, scaled and split there for fp16 operands where a kernel uses those.
// WARPS (of a block) is defined ahead.
#pragma once
#include "convolution/conv3d_moments.cuh"
#include "core/async_copy.cuh"
#include "numerics/split.cuh"

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
    largest = warp_reduce(largest, Max{});
    if (threadIdx.x % 32 == 0) scales[channel] = scale_for(largest);
  }
}

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
  largest = warp_reduce(largest, Max{});
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

// Where the lane's words of a gathered input row lie from the row's first one on. Lanes t of four take the k that these
// words stand for, each WORD_K values of k, in turn; words beyond K meet zero weights and read a neighbour.
template <int TAPS, int K, int WORD_K, int QUADS>
__device__ __forceinline__ void gather_offsets(int (&offset)[QUADS], int pitch) {
#pragma unroll
  for (int q = 0; q < QUADS; q++) {
    const int k = min((q * 4 + static_cast<int>(threadIdx.x) % 4) * WORD_K, K - 1);
    offset[q] = k / TAPS * pitch + k % TAPS;
  }
}
