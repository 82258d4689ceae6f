// Statistics of a 3-D convolution's output without writing that output (stride 1, no padding, cubic kernel).
//
// Every (sample, channel, slot) gets mean and sum of squared deviations; a slot is a box of tile_d x tile_h output
// rows of full width. Here is what the kernels that do it share, and direct_moments: plain fp32 from global memory,
// for shapes that no faster kernel takes.
#pragma once
#include "convolution/conv3d_layout.cuh"
#include "core/launch.cuh"
#include "core/reduce.cuh"
#include "numerics/activation.cuh"
#include "numerics/moments.cuh"

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

// The result for one channel and slot, out of the activation's unit.
template <class Activation>
__device__ __forceinline__ void store_moments(const Conv3d& c, Moments<double> of, int n, int channel, int slot,
                                              double2* moments) {
  constexpr double SCALE = Activation::SCALE;
  moments[(static_cast<long long>(n) * c.out + channel) * c.slots + slot] = {of.mean * SCALE, of.m2 * SCALE * SCALE};
}

// Any number of channels and taps: a thread computes DIRECT_CHUNK channels at one position after another.
constexpr int DIRECT_THREADS = 128, DIRECT_CHUNK = 8;

template <class Activation>
__global__ void __launch_bounds__(DIRECT_THREADS) direct_moments(const Conv3d c, double2* moments) {
  constexpr int CHUNK = DIRECT_CHUNK;
  __shared__ Moments<double> totals[DIRECT_THREADS / 32][CHUNK];
  const int channel0 = blockIdx.y * CHUNK;
  const int n = blockIdx.x / c.slots, slot = blockIdx.x % c.slots;
  const long long plane = static_cast<long long>(c.h) * c.w, volume = c.d * plane;
  const long long taps = c.taps, weights = c.in * taps * taps * taps;
  const float* sample = c.x + static_cast<long long>(n) * c.in * volume;
  const Box box = box_of(c, slot);
  const long long count = static_cast<long long>(box.planes) * box.rows * c.ow;

  RunningSums sums[CHUNK];
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
      if constexpr (!Activation::LINEAR) {
        const float bias = c.bias ? c.bias[min(channel0 + i, c.out - 1)] : 0.0f;
        y[i] = Activation()(fmaf(y[i], 1.0f / Activation::SCALE, bias / Activation::SCALE));
      }
      if (p == threadIdx.x) sums[i] = {y[i], 0.0f, 0.0f};
      sums[i].add(y[i]);
    }
  }

  const long long own_count = (count - threadIdx.x + DIRECT_THREADS - 1) / DIRECT_THREADS;
#pragma unroll
  for (int i = 0; i < CHUNK; i++) {
    Moments<double> own{0.0, 0.0, 0.0};
    if (threadIdx.x < count) own = sums[i].moments(static_cast<double>(own_count), 1.0 / own_count);
    own = warp_reduce(own, Merge{});
    if (threadIdx.x % 32 == 0) totals[threadIdx.x / 32][i] = own;
  }
  __syncthreads();
  if (threadIdx.x < CHUNK && channel0 + threadIdx.x < c.out) {
    Moments<double> total = totals[0][threadIdx.x];
    for (int i = 1; i < DIRECT_THREADS / 32; i++) total = merge(total, totals[i][threadIdx.x]);
    store_moments<Activation>(c, total, n, channel0 + threadIdx.x, slot, moments);
  }
}

template <class Activation>
cudaError_t launch_direct(const Conv3d& c, long long n, double2* moments, cudaStream_t stream) {
  if (n * c.slots > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  const dim3 grid(static_cast<unsigned>(n * c.slots), static_cast<unsigned>(ceil_div(c.out, DIRECT_CHUNK)));
  direct_moments<Activation><<<grid, DIRECT_THREADS, 0, stream>>>(c, moments);
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
__device__ __forceinline__ Moments<double> merge_slots(const Conv3d& c, const double2* row, int lanes, bool real) {
  const int start = real ? static_cast<int>(threadIdx.x) % lanes : c.slots;
  const double count = static_cast<double>(c.od) * c.oh * c.ow;
  double mean = 0.0, m2 = 0.0;
  for (int slot = start; slot < c.slots; slot += lanes) mean += values_in(c, box_of(c, slot)) * row[slot].x;
  mean = run_reduce(mean, Sum{}, lanes) / count;
  for (int slot = start; slot < c.slots; slot += lanes) {
    const double step = row[slot].x - mean;
    m2 += row[slot].y + values_in(c, box_of(c, slot)) * step * step;
  }
  m2 = run_reduce(m2, Sum{}, lanes);
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
    const Moments<double> all = merge_slots(c, row, lanes, channel < c.out);
    if (channel < c.out && threadIdx.x % lanes == 0) row[0] = {all.mean + (bias ? bias[channel] : 0.0f), all.m2};
  }
  __syncthreads();
}
