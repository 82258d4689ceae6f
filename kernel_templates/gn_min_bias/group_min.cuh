// GroupNorm and the minimum over a row's channels from one read of it, then the minimum plus a broadcast bias.
//
// A block takes ROWS rows of one slice of the channels: BLOCK_SIZE / LANES groups, each held by LANES threads in
// registers. A thread keeps its channels' weights while it walks down the rows, so that these are read once a
// block. The minima of the slices meet in the second kernel, which writes the result.
#pragma once
#include <math_constants.h>

#include "core/launch.cuh"
#include "core/reduce.cuh"
#include "core/vector.cuh"
#include "group_min_layout.hpp"

#ifndef VECTOR_WIDTH  // floats a load
#define VECTOR_WIDTH 4
#endif
#ifndef VECTORS  // loads a thread and row
#define VECTORS 1
#endif
#ifndef UNROLL  // rows that a thread has in flight
#define UNROLL 4
#endif
#ifndef STORE_BLOCK  // threads a block that writes the result
#define STORE_BLOCK 256
#endif
#ifndef STORE_WIDTH  // floats a store
#define STORE_WIDTH 4
#endif
#ifndef STORE_ROWS  // biases that a thread writes the result of
#define STORE_ROWS 16
#endif
#ifndef STREAMING  // stores that leave the caches first
#define STREAMING 1
#endif

struct Norm {
  const float* offset;  // (channels) added to the product, or null
  const float* weight;  // (channels)
  const float* bias;    // (channels)
  float* minima;        // (slices, rows)
  long long rows, groups, channels, slices;  // `channels` a group
  float eps;
};

template <int V>
__device__ __forceinline__ Vector<V> filled(float value) {
  Vector<V> v;
#pragma unroll
  for (int k = 0; k < V; k++) v.at[k] = value;
  return v;
}

// 1 / sqrt(variance + eps) of a group whose squared deviations sum to m2.
__device__ __forceinline__ float inverse_deviation(float m2, const Norm& norm) {
  return rsqrtf(m2 / static_cast<float>(norm.channels) + norm.eps);
}

// Where one thread's minimum of row `row` goes; all threads of the warp call it.
__device__ __forceinline__ void keep_minimum(float (*minima)[MINIMA], int row, float minimum) {
  if constexpr (REDUCTION == REDUCTION_SHUFFLE) {
    minimum = warp_reduce(minimum, Min{});
    if (threadIdx.x % 32 == 0) minima[row][threadIdx.x / 32] = minimum;
  } else {
    minima[row][threadIdx.x] = minimum;
  }
}

// The block's minima of its rows to global memory; all threads call it.
__device__ void store_minima(float (*minima)[MINIMA], const Norm& norm, long long slice, long long first_row) {
  __syncthreads();
  const int lane = threadIdx.x % 32;
  for (int row = threadIdx.x / 32; row < ROWS && first_row + row < norm.rows; row += WARPS) {
    float minimum = minima[row][lane % MINIMA];
    for (int i = lane + 32; i < MINIMA; i += 32) minimum = Min{}(minimum, minima[row][i]);
    minimum = warp_reduce(minimum, Min{});
    if (lane == 0) norm.minima[slice * norm.rows + first_row + row] = minimum;
  }
}

// Groups of at most LANES * V * VECTORS channels. `Source` reads the product:
//     Vector<V> read<V>(row, channel); and, where SCALED, float row_scale(row), Vector<V> channel_scale<V>(channel).
template <class Source, int V>
__global__ void __launch_bounds__(BLOCK_SIZE) held_group_min(const Source source, const Norm norm) {
  __shared__ float minima[ROWS][MINIMA];
  const long long slice = blockIdx.x % norm.slices, first_row = blockIdx.x / norm.slices * ROWS;
  const long long group = slice * GROUPS + threadIdx.x / LANES;
  const int lane = threadIdx.x % LANES;
  const float count = static_cast<float>(norm.channels);

  bool present[VECTORS];
  long long channel[VECTORS];
  Vector<V> scale[VECTORS], offset[VECTORS], weight[VECTORS], bias[VECTORS];
#pragma unroll
  for (int j = 0; j < VECTORS; j++) {
    const long long within = (j * LANES + lane) * V;
    present[j] = group < norm.groups && within < norm.channels;
    channel[j] = present[j] ? group * norm.channels + within : 0;
    weight[j] = load<V>(norm.weight + channel[j]);
    bias[j] = load<V>(norm.bias + channel[j]);
    offset[j] = norm.offset == nullptr ? filled<V>(0.0f) : load<V>(norm.offset + channel[j]);
    if constexpr (Source::SCALED) scale[j] = source.template channel_scale<V>(channel[j]);
  }

  for (int first = 0; first < ROWS; first += UNROLL) {
    Vector<V> v[UNROLL][VECTORS];
#pragma unroll
    for (int r = 0; r < UNROLL; r++) {
      const long long row = first_row + first + r;
#pragma unroll
      for (int j = 0; j < VECTORS; j++) {
        v[r][j] = present[j] && row < norm.rows ? source.template read<V>(row, channel[j]) : filled<V>(0.0f);
      }
    }
#pragma unroll
    for (int r = 0; r < UNROLL; r++) {
      const long long row = min(first_row + first + r, norm.rows - 1);
      const float row_scale = Source::SCALED ? source.row_scale(row) : 1.0f;
#pragma unroll
      for (int j = 0; j < VECTORS; j++) {
#pragma unroll
        for (int k = 0; k < V; k++) {
          if constexpr (Source::SCALED) v[r][j].at[k] *= row_scale * scale[j].at[k];
          v[r][j].at[k] += offset[j].at[k];
        }
      }
      // Deviations from the group's first value: their sum does not cancel under a common offset.
      const float pivot = __shfl_sync(0xffffffffu, v[r][0].at[0], 0, LANES);
      float sum = 0.0f, m2 = 0.0f;
#pragma unroll
      for (int j = 0; j < VECTORS; j++) {
#pragma unroll
        for (int k = 0; k < V; k++) {
          v[r][j].at[k] -= pivot;
          sum += present[j] ? v[r][j].at[k] : 0.0f;
        }
      }
      const float mean = warp_reduce<LANES>(sum, Sum{}) / count;
#pragma unroll
      for (int j = 0; j < VECTORS; j++) {
#pragma unroll
        for (int k = 0; k < V; k++) {
          v[r][j].at[k] -= mean;
          m2 += present[j] ? v[r][j].at[k] * v[r][j].at[k] : 0.0f;
        }
      }
      const float factor = inverse_deviation(warp_reduce<LANES>(m2, Sum{}), norm);
      float minimum = CUDART_INF_F;
#pragma unroll
      for (int j = 0; j < VECTORS; j++) {
#pragma unroll
        for (int k = 0; k < V; k++) {
          const float normalised = v[r][j].at[k] * factor * weight[j].at[k] + bias[j].at[k];
          if (present[j]) minimum = Min{}(normalised, minimum);
        }
      }
      keep_minimum(minima, first + r, minimum);
    }
  }
  store_minima(minima, norm, slice, first_row);
}

// Groups of any size: a warp a group, which is read three times.
template <class Source>
__global__ void __launch_bounds__(BLOCK_SIZE) wide_group_min(const Source source, const Norm norm) {
  __shared__ float minima[ROWS][MINIMA];
  const long long slice = blockIdx.x % norm.slices, first_row = blockIdx.x / norm.slices * ROWS;
  const long long last_group = min(norm.groups, (slice + 1) * GROUPS);
  const int lane = threadIdx.x % 32;
  const float count = static_cast<float>(norm.channels);
  for (int r = 0; r < ROWS; r++) {
    const long long row = min(first_row + r, norm.rows - 1);
    const auto read = [&](long long channel) {
      float value = source.template read<1>(row, channel).at[0];
      if constexpr (Source::SCALED) value *= source.row_scale(row) * source.template channel_scale<1>(channel).at[0];
      return norm.offset == nullptr ? value : value + norm.offset[channel];
    };
    float minimum = CUDART_INF_F;
    for (long long group = slice * GROUPS + threadIdx.x / 32; group < last_group; group += WARPS) {
      const long long begin = group * norm.channels, end = begin + norm.channels;
      const float pivot = read(begin);
      float sum = 0.0f, m2 = 0.0f;
      for (long long c = begin + lane; c < end; c += 32) sum += read(c) - pivot;
      const float mean = warp_reduce(sum, Sum{}) / count;
      for (long long c = begin + lane; c < end; c += 32) {
        const float deviation = read(c) - pivot - mean;
        m2 += deviation * deviation;
      }
      const float factor = inverse_deviation(warp_reduce(m2, Sum{}), norm);
      for (long long c = begin + lane; c < end; c += 32) {
        minimum = Min{}((read(c) - pivot - mean) * factor * norm.weight[c] + norm.bias[c], minimum);
      }
    }
    keep_minimum(minima, r, minimum);
  }
  store_minima(minima, norm, slice, first_row);
}

// `aligned`: whether the source's rows start on a vector's boundary.
template <class Source>
cudaError_t launch_group_min(const Source& source, bool aligned, Norm norm, cudaStream_t stream) {
  norm.slices = ceil_div(norm.groups, GROUPS);
  const long long blocks = norm.slices * ceil_div(norm.rows, ROWS);
  if (blocks == 0) return cudaSuccess;
  if (blocks > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  const unsigned grid = static_cast<unsigned>(blocks);
  if (aligned && norm.channels % VECTOR_WIDTH == 0 && norm.channels <= LANES * VECTOR_WIDTH * VECTORS) {
    held_group_min<Source, VECTOR_WIDTH><<<grid, BLOCK_SIZE, 0, stream>>>(source, norm);
  } else if (norm.channels <= LANES * VECTORS) {
    held_group_min<Source, 1><<<grid, BLOCK_SIZE, 0, stream>>>(source, norm);
  } else {
    wide_group_min<Source><<<grid, BLOCK_SIZE, 0, stream>>>(source, norm);
  }
  return cudaGetLastError();
}

// ---- a product in float ----

struct Product {
  static constexpr bool SCALED = false;
  const float* y;  // (rows, width)
  long long width;

  template <int V>
  __device__ __forceinline__ Vector<V> read(long long row, long long channel) const {
    return load_once<V>(y + row * width + channel);
  }
  __device__ float row_scale(long long) const { return 1.0f; }
};

// y (n, c); linear_bias (c), still to be added to y, or null; weight and bias (c); minima (slices, n).
extern "C" int group_min(const float* y, const float* linear_bias, const float* weight, const float* bias,
                         float* minima, long long n, long long c, long long g, double eps, void* stream) {
  const Norm norm{linear_bias, weight, bias, minima, n, g, c / g, 0, static_cast<float>(eps)};
  return launch_group_min(Product{y, c}, c % VECTOR_WIDTH == 0, norm, static_cast<cudaStream_t>(stream));
}

// ---- the result: out[b, n] = (minimum over the slices of minima[slice, n]) + bias[b] ----

// Threads as `columns` vectors of n by rows of b; each thread writes STORE_ROWS of these.
template <int V>
__global__ void __launch_bounds__(STORE_BLOCK)
    store_sums(const float* minima, const float* bias, float* out, long long slices, long long n, long long biases,
               int columns, long long column_tiles) {
  const int rows = STORE_BLOCK / columns;
  const long long column = (blockIdx.x % column_tiles * columns + threadIdx.x % columns) * V;
  const long long first = blockIdx.x / column_tiles * rows * STORE_ROWS + threadIdx.x / columns;
  if (column >= n || threadIdx.x >= rows * columns) return;
  Vector<V> minimum = load<V>(minima + column);
  for (long long slice = 1; slice < slices; slice++) {
    const Vector<V> other = load<V>(minima + slice * n + column);
#pragma unroll
    for (int k = 0; k < V; k++) minimum.at[k] = Min{}(minimum.at[k], other.at[k]);
  }
#pragma unroll
  for (int i = 0; i < STORE_ROWS; i++) {
    const long long b = first + i * rows;
    if (b < biases) {
      const float addend = __ldg(bias + b);
      Vector<V> sum = minimum;
#pragma unroll
      for (int k = 0; k < V; k++) sum.at[k] += addend;
      if (STREAMING) {
        store_once<V>(out + b * n + column, sum);
      } else {
        store<V>(out + b * n + column, sum);
      }
    }
  }
}

template <int V>
static cudaError_t launch_store_sums(const float* minima, const float* bias, float* out, long long slices,
                                     long long n, long long biases, cudaStream_t stream) {
  const long long vectors = n / V;
  const int columns = static_cast<int>(vectors < STORE_BLOCK ? vectors : STORE_BLOCK);
  const long long column_tiles = ceil_div(vectors, columns);
  const long long blocks = column_tiles * ceil_div(biases, STORE_BLOCK / columns * STORE_ROWS);
  if (blocks > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  store_sums<V><<<static_cast<unsigned>(blocks), STORE_BLOCK, 0, stream>>>(minima, bias, out, slices, n, biases,
                                                                            columns, column_tiles);
  return cudaGetLastError();
}

// minima (slices, n), bias (biases), out (biases, n).
extern "C" int add_bias(const float* minima, const float* bias, float* out, long long slices, long long n,
                        long long biases, void* stream) {
  if (n == 0 || biases == 0) return cudaSuccess;
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  if (n % STORE_WIDTH == 0) return launch_store_sums<STORE_WIDTH>(minima, bias, out, slices, n, biases, on);
  return launch_store_sums<1>(minima, bias, out, slices, n, biases, on);
}
