// What the tensor cores left of a product of pieces (split.cuh), summed over its slices, scaled, and written as it is
// asked for. Tiles with a row that has NaN or Inf are computed again, in float: such rows are what they are in float.
#pragma once
#include "core/launch.cuh"
#include "core/vector.cuh"

namespace split {

constexpr int tile = 64, tile_k = 16;  // 16 x 16 threads, 4 x 4 results each

struct Factor {
  const float* values;   // (batch, rows, k) by these strides
  const float* scales;   // (batch, slices, padded)
  long long batch_stride, stride, k_stride, padded;
};

struct Product {
  const float* sums;  // (parts, batch, slices, m, b.padded)
  Factor a, b;
  float* out;  // (batch, m, n)
  long long batch, m, n, k, slices, parts;
};

// The tile that is numbered so, and where a thread's results lie in it: rows row + 16 i, columns from `column` on.
struct Place {
  long long matrix, row0, column0, row, column;

  __device__ Place(const Product& p, long long number) {
    const long long across = ceil_div(p.n, tile), down = ceil_div(p.m, tile);
    column0 = number % across * tile;
    row0 = number / across % down * tile;
    matrix = number / across / down;
    row = row0 + threadIdx.x / 16;
    column = column0 + threadIdx.x % 16 * 4;
  }
};

__device__ __forceinline__ const float* scale_at(const Product& p, const Factor& f, long long matrix, long long slice,
                                                 long long row) {
  return f.scales + (matrix * p.slices + slice) * f.padded + row;
}

// The least scale over the slices of a row of the tile, or of a column: below 0 where it is not finite.
__device__ __forceinline__ float least_scale(const Product& p, const Place& at) {
  const bool of_a = threadIdx.x < tile;
  const long long row = of_a ? at.row0 + threadIdx.x : at.column0 + threadIdx.x - tile;
  float least = 1.0f;
  if (threadIdx.x < 2 * tile && row < (of_a ? p.m : p.n)) {
    for (long long s = 0; s < p.slices; s++) {
      least = fminf(least, *scale_at(p, of_a ? p.a : p.b, at.matrix, s, row));
    }
  }
  return least;
}

__device__ __forceinline__ void add_sums(const Product& p, const Place& at, float (&v)[4][4]) {
  const long long plane = p.batch * p.slices * p.m * p.b.padded;
  for (long long s = 0; s < p.slices; s++) {
    if (at.column >= p.n) return;
    const Vector<4> scales = load<4>(scale_at(p, p.b, at.matrix, s, at.column));
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const long long row = at.row + 16 * i;
      if (row >= p.m) continue;
      const float own = __ldg(scale_at(p, p.a, at.matrix, s, row));
      const float* from = p.sums + ((at.matrix * p.slices + s) * p.m + row) * p.b.padded + at.column;
      Vector<4> sum = load_once<4>(from);
      if (p.parts == 2) {
        const Vector<4> more = load_once<4>(from + plane);
#pragma unroll
        for (int j = 0; j < 4; j++) sum.at[j] += more.at[j];
      }
#pragma unroll
      for (int j = 0; j < 4; j++) {  // the smaller scale first: what overflows then does so in the result, too
        v[i][j] += sum.at[j] * fminf(own, scales.at[j]) * fmaxf(own, scales.at[j]);
      }
    }
  }
}

// The tile in float, from the factors themselves.
__device__ inline void multiply_tile(const Product& p, const Place& at, float (&v)[4][4]) {
  __shared__ float a_tile[tile_k][tile + 1], b_tile[tile_k][tile + 1];
  const int own = threadIdx.x / 4;  // each thread brings four values a step of one row of a and of b
  const float* a = p.a.values + at.matrix * p.a.batch_stride + min(at.row0 + own, p.m - 1) * p.a.stride;
  const float* b = p.b.values + at.matrix * p.b.batch_stride + min(at.column0 + own, p.n - 1) * p.b.stride;
#pragma unroll
  for (int i = 0; i < 16; i++) v[i / 4][i % 4] = 0.0f;
  for (long long k0 = 0; k0 < p.k; k0 += tile_k) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int within = threadIdx.x % 4 * 4 + j;
      const long long k = k0 + within;
      a_tile[within][own] = k < p.k ? a[k * p.a.k_stride] : 0.0f;
      b_tile[within][own] = k < p.k ? b[k * p.b.k_stride] : 0.0f;
    }
    __syncthreads();
    for (int k = 0; k < min(static_cast<long long>(tile_k), p.k - k0); k++) {
#pragma unroll
      for (int i = 0; i < 16; i++) {
        v[i / 4][i % 4] += a_tile[k][threadIdx.x / 16 + i / 4 * 16] * b_tile[k][threadIdx.x % 16 * 4 + i % 4];
      }
    }
    __syncthreads();
  }
}

// A block looks at 64 rows: what sums of a single plane and slice they have in tiles that are computed again becomes
// what times both scales is the tile in float.
__global__ void __launch_bounds__(256) repair_rows(const Product p, float* sums) {
  const long long across = ceil_div(p.n, tile), first = blockIdx.x * across;
  float least = least_scale(p, Place(p, first));
  const float* scales = scale_at(p, p.b, first / across / ceil_div(p.m, tile), 0, 0);
#pragma unroll 4
  for (long long i = threadIdx.x; i < p.n; i += 256) least = fminf(least, scales[i]);
  if (!__syncthreads_or(least < 0.0f)) return;
  for (long long number = first; number < first + across; number++) {
    const Place at(p, number);
    if (!__syncthreads_or(least_scale(p, at) < 0.0f)) continue;
    float v[4][4];
    multiply_tile(p, at, v);
    for (int i = 0; i < 16; i++) {
      const long long row = at.row + i / 4 * 16, column = at.column + i % 4;
      if (row >= p.m || column >= p.n) continue;
      const float scale = *scale_at(p, p.a, at.matrix, 0, row), other = *scale_at(p, p.b, at.matrix, 0, column);
      sums[(at.matrix * p.m + row) * p.b.padded + column] = v[i / 4][i % 4] / scale / other;
    }
  }
}

__global__ void __launch_bounds__(256) finish_tiles(const Product p) {
  const Place at(p, blockIdx.x);
  float v[4][4] = {};
  const float least = least_scale(p, at);
  add_sums(p, at, v);
  if (__syncthreads_or(least < 0.0f)) multiply_tile(p, at, v);
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const long long row = at.row + 16 * i;
    if (row >= p.m || at.column >= p.n) continue;
    float* to = p.out + (at.matrix * p.m + row) * p.n + at.column;
    if (p.n % 4 == 0) {
      store<4>(to, {v[i][0], v[i][1], v[i][2], v[i][3]});
    } else {
#pragma unroll
      for (int j = 0; j < 4; j++) {
        if (at.column + j < p.n) to[j] = v[i][j];
      }
    }
  }
}

}  // namespace split

// sums (parts, batch, slices, m, padded_b), as the products of the pieces left them -> out (batch, m, n), contiguous.
// a (batch, m, k) and b (batch, n, k) are the factors by their strides.
extern "C" int finish_product(const float* sums, const float* a_scales, const float* b_scales, const float* a,
                              const float* b, float* out, long long batch, long long m, long long n, long long k,
                              long long slices, long long parts, long long a_padded, long long b_padded,
                              long long a_batch_stride, long long a_stride, long long a_k_stride,
                              long long b_batch_stride, long long b_stride, long long b_k_stride, void* stream) {
  const split::Product p{sums,
                         {a, a_scales, a_batch_stride, a_stride, a_k_stride, a_padded},
                         {b, b_scales, b_batch_stride, b_stride, b_k_stride, b_padded},
                         out, batch, m, n, k, slices, parts};
  const long long blocks = batch * ceil_div(m, split::tile) * ceil_div(n, split::tile);
  if (blocks > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  if (blocks == 0) return cudaSuccess;
  split::finish_tiles<<<static_cast<unsigned>(blocks), 256, 0, static_cast<cudaStream_t>(stream)>>>(p);
  return cudaGetLastError();
}

// Instead of that, of one slice and part: sums become what times a's and b's scales is the product.
extern "C" int repair_product(float* sums, const float* a_scales, const float* b_scales, const float* a,
                              const float* b, long long batch, long long m, long long n, long long k,
                              long long slices, long long parts, long long a_padded, long long b_padded,
                              long long a_batch_stride, long long a_stride, long long a_k_stride,
                              long long b_batch_stride, long long b_stride, long long b_k_stride, void* stream) {
  const split::Product p{sums,
                         {a, a_scales, a_batch_stride, a_stride, a_k_stride, a_padded},
                         {b, b_scales, b_batch_stride, b_stride, b_k_stride, b_padded},
                         nullptr, batch, m, n, k, slices, parts};
  const long long blocks = batch * ceil_div(m, split::tile);
  if (blocks > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  if (slices != 1 || parts != 1) return cudaErrorInvalidValue;
  if (blocks == 0) return cudaSuccess;
  split::repair_rows<<<static_cast<unsigned>(blocks), 256, 0, static_cast<cudaStream_t>(stream)>>>(p, sums);
  return cudaGetLastError();
}
