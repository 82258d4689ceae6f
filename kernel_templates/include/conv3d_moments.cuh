// Statistics of a 3-D convolution's output without writing that output (stride 1, no padding, cubic kernel).
//
// Every (sample, channel, slot) gets mean and sum of squared deviations; a slot is a box of tile_d x tile_h output
// rows of full width. Here is what the kernels that do it share, and direct_moments: plain fp32 from global memory,
// for shapes that no faster kernel takes.
#pragma once
#include "launch.cuh"

struct Conv3d {
  const float *x, *weight, *bias;  // (n, in, d, h, w), (out, in, taps, taps, taps), (out) or null
  int in, out, taps;
  int d, h, w, od, oh, ow;     // input and output sizes
  int tile_d, tile_h, slots_h;  // a slot's output planes and rows; slots side by side along h
  int slots;                   // a sample
  int part_d, part_h;          // what of a slot is staged at a time
};

inline Conv3d conv3d(const float* x, const float* weight, const float* bias, long long in, long long out,
                     long long taps, long long d, long long h, long long w, long long tile_d, long long tile_h) {
  Conv3d c{x, weight, bias};
  c.in = static_cast<int>(in), c.out = static_cast<int>(out), c.taps = static_cast<int>(taps);
  c.d = static_cast<int>(d), c.h = static_cast<int>(h), c.w = static_cast<int>(w);
  c.od = c.d - c.taps + 1, c.oh = c.h - c.taps + 1, c.ow = c.w - c.taps + 1;
  c.tile_d = c.part_d = tile_d < c.od ? static_cast<int>(tile_d) : c.od;
  c.tile_h = c.part_h = tile_h < c.oh ? static_cast<int>(tile_h) : c.oh;
  c.slots_h = static_cast<int>(ceil_div(c.oh, c.tile_h));
  c.slots = static_cast<int>(ceil_div(c.od, c.tile_d)) * c.slots_h;
  return c;
}

// The box of one slot: output planes [d0, d0 + planes) and rows [h0, h0 + rows).
struct Box {
  int d0, h0, planes, rows;
};

__device__ __forceinline__ Box box_of(const Conv3d& c, int slot) {
  const int d0 = slot / c.slots_h * c.tile_d, h0 = slot % c.slots_h * c.tile_h;
  return {d0, h0, min(c.tile_d, c.od - d0), min(c.tile_h, c.oh - h0)};
}

__device__ __forceinline__ double values_in(const Conv3d& c, Box box) {
  return static_cast<double>(box.planes) * box.rows * c.ow;
}

// Count, mean and sum of squared deviations; merged as by Chan et al.
struct WideMoments {
  double count, mean, m2;
};

__device__ __forceinline__ WideMoments merge(WideMoments a, WideMoments b) {
  const double count = a.count + b.count, share = count > 0.0 ? b.count / count : 0.0, step = b.mean - a.mean;
  return {count, a.mean + step * share, a.m2 + b.m2 + step * step * a.count * share};
}

__device__ __forceinline__ WideMoments shuffle_xor(WideMoments v, int mask) {
  return {__shfl_xor_sync(~0u, v.count, mask), __shfl_xor_sync(~0u, v.mean, mask), __shfl_xor_sync(~0u, v.m2, mask)};
}

// Sums about a pivot near the values (one of them), so that the variance does not cancel.
struct PivotedSums {
  float pivot, sum, square;
  __device__ __forceinline__ void add(float v) {
    const float step = v - pivot;
    sum += step;
    square = fmaf(step, step, square);
  }
  __device__ __forceinline__ WideMoments moments(double count, double per_count) const {
    const double wide = sum;
    return {count, pivot + wide * per_count, square - wide * wide * per_count};
  }
};

// y * relu6(y + 3) / 6; NaN and -Inf give NaN, as in the definition.
__device__ __forceinline__ float hardswish(float y) { return y * __saturatef(fmaf(y, 1.0f / 6.0f, 0.5f)); }

// Any number of channels and taps: a thread computes DIRECT_CHUNK channels at one position after another.
constexpr int DIRECT_THREADS = 128, DIRECT_CHUNK = 8;

template <bool HARDSWISH>
__global__ void __launch_bounds__(DIRECT_THREADS) direct_moments(const Conv3d c, double2* moments) {
  constexpr int CHUNK = DIRECT_CHUNK;
  __shared__ WideMoments totals[DIRECT_THREADS / 32][CHUNK];
  const int channel0 = blockIdx.y * CHUNK;
  const int n = blockIdx.x / c.slots, slot = blockIdx.x % c.slots;
  const long long plane = static_cast<long long>(c.h) * c.w, volume = c.d * plane;
  const long long taps = c.taps, weights = c.in * taps * taps * taps;
  const float* sample = c.x + static_cast<long long>(n) * c.in * volume;
  const Box box = box_of(c, slot);
  const long long count = static_cast<long long>(box.planes) * box.rows * c.ow;

  PivotedSums sums[CHUNK];
  for (long long p = threadIdx.x; p < count; p += DIRECT_THREADS) {
    const int w = static_cast<int>(p % c.ow), row = static_cast<int>(p / c.ow);
    const float* corner = sample + (box.d0 + row / box.rows) * plane + (box.h0 + row % box.rows) * c.w + w;
    float y[CHUNK] = {};
    long long k = 0;
    for (int input = 0; input < c.in; input++) {
      for (int kd = 0; kd < c.taps; kd++) {
        for (int kh = 0; kh < c.taps; kh++) {
          for (int kw = 0; kw < c.taps; kw++, k++) {
            const float v = corner[input * volume + kd * plane + kh * c.w + kw];
#pragma unroll
            for (int i = 0; i < CHUNK; i++) {
              y[i] = fmaf(v, c.weight[min(channel0 + i, c.out - 1) * weights + k], y[i]);
            }
          }
        }
      }
    }
#pragma unroll
    for (int i = 0; i < CHUNK; i++) {
      if constexpr (HARDSWISH) y[i] = hardswish(y[i] + (c.bias ? c.bias[min(channel0 + i, c.out - 1)] : 0.0f));
      if (p == threadIdx.x) sums[i] = {y[i], 0.0f, 0.0f};
      sums[i].add(y[i]);
    }
  }

  const long long own_count = (count - threadIdx.x + DIRECT_THREADS - 1) / DIRECT_THREADS;
#pragma unroll
  for (int i = 0; i < CHUNK; i++) {
    WideMoments own{0.0, 0.0, 0.0};
    if (threadIdx.x < count) own = sums[i].moments(static_cast<double>(own_count), 1.0 / own_count);
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) own = merge(own, shuffle_xor(own, mask));
    if (threadIdx.x % 32 == 0) totals[threadIdx.x / 32][i] = own;
  }
  __syncthreads();
  if (threadIdx.x < CHUNK && channel0 + threadIdx.x < c.out) {
    WideMoments total = totals[0][threadIdx.x];
    for (int i = 1; i < DIRECT_THREADS / 32; i++) total = merge(total, totals[i][threadIdx.x]);
    moments[(static_cast<long long>(n) * c.out + channel0 + threadIdx.x) * c.slots + slot] = {total.mean, total.m2};
  }
}

template <bool HARDSWISH>
cudaError_t launch_direct(const Conv3d& c, long long n, double2* moments, cudaStream_t stream) {
  if (n * c.slots > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  const dim3 grid(static_cast<unsigned>(n * c.slots), static_cast<unsigned>(ceil_div(c.out, DIRECT_CHUNK)));
  direct_moments<HARDSWISH><<<grid, DIRECT_THREADS, 0, stream>>>(c, moments);
  return cudaGetLastError();
}

// What one block may have of the current device's shared memory.
inline cudaError_t shared_memory_per_block(int& bytes) {
  int device;
  const cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  return cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
}

// Lanes that merge one row of slots: a power of two, so that a warp does several rows when they are short.
__device__ __forceinline__ int lanes_for(const Conv3d& c) {
  return c.slots >= 32 ? 32 : c.slots > 1 ? 1 << (32 - __clz(c.slots - 1)) : 1;
}

// All slots of one (sample, channel) row of `moments`, by `lanes` successive lanes; all of them get the result, and
// all lanes of the warp call it, those without a `real` row too. In two sweeps, since all counts are known: means
// first, then deviations from the common mean.
__device__ __forceinline__ WideMoments merge_slots(const Conv3d& c, const double2* row, int lanes, bool real) {
  const int start = real ? static_cast<int>(threadIdx.x) % lanes : c.slots;
  const double count = static_cast<double>(c.od) * c.oh * c.ow;
  double mean = 0.0, m2 = 0.0;
  for (int slot = start; slot < c.slots; slot += lanes) mean += values_in(c, box_of(c, slot)) * row[slot].x;
  for (int mask = lanes / 2; mask > 0; mask /= 2) mean += __shfl_xor_sync(~0u, mean, mask);
  mean /= count;
  for (int slot = start; slot < c.slots; slot += lanes) {
    const double step = row[slot].x - mean;
    m2 += row[slot].y + values_in(c, box_of(c, slot)) * step * step;
  }
  for (int mask = lanes / 2; mask > 0; mask /= 2) m2 += __shfl_xor_sync(~0u, m2, mask);
  return {count, mean, m2};
}

// Replaces the first entry of each of a sample's rows (out, slots) by the channel's {mean + bias, m2}; `bias` may be
// null. By all threads of a block; ends with a barrier.
template <int THREADS>
__device__ __forceinline__ void merge_rows(const Conv3d& c, double2* rows, const float* bias) {
  const int lanes = lanes_for(c), per_warp = 32 / lanes;
  for (int first = threadIdx.x / 32 * per_warp; first < c.out; first += THREADS / lanes) {
    const int channel = first + threadIdx.x % 32 / lanes;
    double2* row = rows + static_cast<long long>(channel) * c.slots;
    const WideMoments all = merge_slots(c, row, lanes, channel < c.out);
    if (channel < c.out && threadIdx.x % lanes == 0) row[0] = {all.mean + (bias ? bias[channel] : 0.0f), all.m2};
  }
  __syncthreads();
}
