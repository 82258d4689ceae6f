// A float matrix cut into pieces for the tensor cores: v = (high + low) * scale, both halves, one scale a row.
//
// The scale is the power of two that brings a row's largest magnitude into [2^14, 2^15). There high and low together
// keep 22 bits of every value down to 2^-18 of the largest, and an absolute 2^-39 of it below; no sum of products
// overflows a float. Then
//     a . b = a's scale * b's scale * (low . high + high . low + high . high),
// low . low being below what a float keeps. The cross terms stand first: the tensor cores truncate what they add, and
// while the sum is small that costs nothing. A row of a is kept as [low high] or [low high high], one of b as [high low] or
// [high low high], so that the whole is two products, or one over three times K.
//
// K is cut into slices of `width` values, each with scales and pieces of its own: a product of few results has work
// for the whole chip, and no sum in a tensor core is longer than a slice. Rows and columns beyond the matrix are zero. A
// row with NaN or Inf in a slice has the scale -1 there, and zeros as pieces: finish.cuh computes it again.
#pragma once
#include <cuda_fp16.h>

#include "core/launch.cuh"
#include "core/reduce.cuh"
#include "core/vector.cuh"

namespace split {

constexpr int held = 32;  // values that a thread keeps of a row
constexpr int top = 14;   // exponent of a scaled row's largest magnitude

// A row's factors: `up` scales its values, `scale` undoes it. 2^-126 <= scale, so that both are normal numbers; 0 and -1
// stand for a row that is not finite.
struct Factors {
  float up, scale;
};

// `largest` holds the bits of the row's largest magnitude; NaN and Inf lie above all others.
__device__ __forceinline__ Factors factors(unsigned largest) {
  const unsigned exponent = max(largest >> 23, 1u + top);
  if (largest >= 0x7f800000u) return {0.0f, -1.0f};
  return {__uint_as_float((254 + top - exponent) << 23), __uint_as_float((exponent - top) << 23)};
}

template <int V>
struct alignas(2 * V) Halves {
  __half at[V];
};

// The pieces of a scaled row's values; none where up is 0.
template <int V>
__device__ __forceinline__ void cut(const Vector<V>& v, float up, Halves<V>& high, Halves<V>& low) {
#pragma unroll
  for (int j = 0; j < V; j++) {
    const float value = up == 0.0f ? 0.0f : v.at[j] * up;
    high.at[j] = __float2half_rn(value);
    low.at[j] = __float2half_rn(value - __half2float(high.at[j]));  // the difference is exact
  }
}

// The pieces in their order, `stride` halves apart.
template <int V>
__device__ __forceinline__ void put(__half* at, long long stride, long long parts, bool left, const Halves<V>& high,
                                    const Halves<V>& low) {
  *reinterpret_cast<Halves<V>*>(at) = left ? low : high;
  *reinterpret_cast<Halves<V>*>(at + stride) = left ? high : low;
  if (parts == 3) *reinterpret_cast<Halves<V>*>(at + 2 * stride) = high;
}

struct Matrix {
  const float* source;               // (batch, rows, k), or (batch, k, rows)
  __half* pieces;                    // (batch, slices, padded, parts, width), or (batch, slices, parts, width, padded)
  float* scales;                     // (batch, slices, padded)
  unsigned* largest;                 // of the second form: (batch, slices, padded)
  unsigned long long* fingerprints;  // of the first form: (batch, slices, padded), or null
  long long batch, rows, k, batch_stride, stride, padded, width, slices, parts;
  bool left, check;  // order of the pieces; leave rows as they are whose fingerprint has not changed
};

// ---- k contiguous: LANES threads keep a slice of a row in registers ----

struct Scan {
  unsigned long long fingerprint;  // of the row's bits
  unsigned largest, unused;        // bits of the largest magnitude
};

struct MergeScans {
  __device__ Scan operator()(Scan a, Scan b) const {
    return {a.fingerprint + b.fingerprint, a.largest > b.largest ? a.largest : b.largest, 0};
  }
};

// A multiplier of each thread's own: the finaliser of splitmix64, made odd.
__device__ __forceinline__ unsigned long long multiplier(unsigned thread) {
  unsigned long long z = (thread + 1ull) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return (z ^ (z >> 31)) | 1ull;
}

template <int LANES>
__device__ __forceinline__ Scan merged(Scan scan) {
  if constexpr (LANES == 32) {
    return warp_reduce(scan, MergeScans{});
  } else {
    __shared__ Scan scratch[reduce_scratch(LANES, Reduction::shuffle)];
    return block_reduce<LANES, Reduction::shuffle>(scan, MergeScans{}, scratch);
  }
}

template <int V>
__device__ __forceinline__ Scan scan_of(const Vector<V> (&v)[held / V], int lane) {
  constexpr unsigned long long step = 0xd1342543de82ef95ull;
  Scan scan{0, 0, 0};
#pragma unroll
  for (int j = 0; j < held / V; j++) {
#pragma unroll
    for (int i = 0; i < V; i++) {
      const unsigned bits = __float_as_uint(v[j].at[i]);
      scan.fingerprint = scan.fingerprint * step + bits;
      scan.largest = max(scan.largest, bits & 0x7fffffffu);
    }
  }
  scan.fingerprint *= multiplier(lane);
  return scan;
}

template <int LANES>
constexpr int threads = LANES < 128 ? 128 : LANES;  // of a block

template <int V, int LANES>
__global__ void __launch_bounds__(threads<LANES>) cut_rows(const Matrix p) {
  const long long at = blockIdx.x * static_cast<long long>(threads<LANES> / LANES) + threadIdx.x / LANES;
  const int lane = threadIdx.x % LANES;
  const long long row = at % p.padded, slice = at / p.padded % p.slices, matrix = at / p.padded / p.slices;
  if (matrix >= p.batch) return;  // a whole warp, of whose rows there are no more
  const long long first = slice * p.width, length = row < p.rows ? min(p.width, p.k - first) : 0;
  const float* values = p.source + matrix * p.batch_stride + row * p.stride + first;
  const unsigned long long known = p.check ? p.fingerprints[at] : 0;

  Vector<V> v[held / V];
#pragma unroll
  for (int j = 0; j < held / V; j++) {
    const int i = (j * LANES + lane) * V;
    v[j] = i < length ? load_once<V>(values + i) : Vector<V>{};
  }
  const Scan scan = merged<LANES>(scan_of<V>(v, lane));
  if (p.check && known == scan.fingerprint) return;

  const Factors by = factors(scan.largest);
  __half* pieces = p.pieces + at * p.parts * p.width;
#pragma unroll
  for (int j = 0; j < held / V; j++) {
    const int i = (j * LANES + lane) * V;
    if (i >= p.width) break;
    Halves<V> high, low;
    cut(v[j], by.up, high, low);
    put(pieces + i, p.width, p.parts, p.left, high, low);
  }
  if (lane == 0) {
    p.scales[at] = by.scale;
    if (p.fingerprints != nullptr) p.fingerprints[at] = scan.fingerprint;
  }
}

template <int V, int LANES>
int launch_rows(const Matrix& p, void* stream) {
  const long long blocks = ceil_div(p.batch * p.slices * p.padded, threads<LANES> / LANES);
  if (blocks > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  cut_rows<V, LANES>
      <<<static_cast<unsigned>(blocks), threads<LANES>, 0, static_cast<cudaStream_t>(stream)>>>(p);
  return cudaGetLastError();
}

template <int V>
int launch_rows(const Matrix& p, void* stream) {
  if (p.width <= 32 * held) return launch_rows<V, 32>(p, stream);
  if (p.width <= 128 * held) return launch_rows<V, 128>(p, stream);
  if (p.width <= 256 * held) return launch_rows<V, 256>(p, stream);
  if (p.width <= 512 * held) return launch_rows<V, 512>(p, stream);
  return cudaErrorInvalidValue;
}

// ---- rows contiguous: a block takes 32 V rows and a run of k, once for the largest magnitude, once for the pieces ----

constexpr int run = 128, warps = 8;

// Which part of a matrix of the second form is a block's and thread's.
template <int V>
struct Part {
  long long row, at, first, slice;  // the thread's first row, its place among all rows' scales; the block's first k
  const float* values;              // at that row, k = 0
  long long length;                 // values of k that the matrix has from `first` on, at most `run`

  __device__ explicit Part(const Matrix& p) {
    const long long across = ceil_div(p.padded, 32 * V), runs = ceil_div(p.width, run);
    const long long z = blockIdx.x / across / runs;
    row = (blockIdx.x % across * 32 + threadIdx.x % 32) * V;
    slice = z % p.slices;
    first = blockIdx.x / across % runs * run;
    at = z * p.padded + row;
    values = p.source + z / p.slices * p.batch_stride + row;
    length = row < p.rows ? min(min(static_cast<long long>(run), p.width - first), p.k - slice * p.width - first) : 0;
  }
};

template <int V>
__global__ void __launch_bounds__(32 * warps) largest_of_columns(const Matrix p) {
  __shared__ unsigned shared[warps][32 * V];
  const Part<V> part(p);
  unsigned largest[V] = {};
#pragma unroll 4
  for (int i = threadIdx.x / 32; i < part.length; i += warps) {
    const Vector<V> v = load<V>(part.values + (part.slice * p.width + part.first + i) * p.stride);
#pragma unroll
    for (int j = 0; j < V; j++) largest[j] = max(largest[j], __float_as_uint(v.at[j]) & 0x7fffffffu);
  }
#pragma unroll
  for (int j = 0; j < V; j++) shared[threadIdx.x / 32][threadIdx.x % 32 * V + j] = largest[j];
  __syncthreads();
  if (threadIdx.x >= 32 || part.row >= p.rows) return;
#pragma unroll
  for (int j = 0; j < V; j++) {
    for (int i = 1; i < warps; i++) largest[j] = max(largest[j], shared[i][threadIdx.x * V + j]);
    atomicMax(p.largest + part.at + j, largest[j]);  // of integers: the same whatever the order
  }
}

template <int V>
__global__ void __launch_bounds__(32 * warps) cut_columns(const Matrix p) {
  const Part<V> part(p);
  if (part.row >= p.padded) return;
  Factors by[V];
#pragma unroll
  for (int j = 0; j < V; j++) by[j] = factors(p.largest[part.at + j]);
  __half* pieces = p.pieces + (part.at - part.row) * p.parts * p.width + part.row;
#pragma unroll 4
  for (int i = threadIdx.x / 32; i < run; i += warps) {
    const long long k = part.first + i;
    if (k >= p.width) break;
    Vector<V> v{};
    if (i < part.length) v = load_once<V>(part.values + (part.slice * p.width + k) * p.stride);
    Halves<V> high, low;
#pragma unroll
    for (int j = 0; j < V; j++) {
      Halves<1> one, other;
      cut<1>({v.at[j]}, by[j].up, one, other);
      high.at[j] = one.at[0], low.at[j] = other.at[0];
    }
    put(pieces + k * p.padded, p.width * p.padded, p.parts, p.left, high, low);
  }
  if (part.first == 0 && threadIdx.x < 32) {
#pragma unroll
    for (int j = 0; j < V; j++) p.scales[part.at + j] = by[j].scale;
  }
}

template <int V>
int launch_columns(const Matrix& p, void* stream) {
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  const long long blocks = p.batch * p.slices * ceil_div(p.width, run) * ceil_div(p.padded, 32 * V);
  if (blocks > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  const cudaError_t code = cudaMemsetAsync(p.largest, 0, p.batch * p.slices * p.padded * sizeof(unsigned), on);
  if (code != cudaSuccess) return code;
  largest_of_columns<V><<<static_cast<unsigned>(blocks), 32 * warps, 0, on>>>(p);
  cut_columns<V><<<static_cast<unsigned>(blocks), 32 * warps, 0, on>>>(p);
  return cudaGetLastError();
}

// Whether vectors of four floats may be read.
inline bool in_fours(const float* source, long long a, long long b, long long c) {
  return reinterpret_cast<std::uintptr_t>(source) % 16 == 0 && a % 4 == 0 && b % 4 == 0 && c % 4 == 0;
}

}  // namespace split

// source (batch, rows, k), k contiguous; width is a multiple of 16, up to 16384. With `check`, what the buffers hold
// is the result of an earlier call, and fingerprints is not null.
extern "C" int split_rows(const float* source, void* pieces, float* scales, void* fingerprints, long long batch,
                          long long rows, long long k, long long batch_stride, long long row_stride, long long padded,
                          long long width, long long slices, long long parts, bool left, bool check, void* stream) {
  const split::Matrix p{source, static_cast<__half*>(pieces), scales, nullptr,
                        static_cast<unsigned long long*>(fingerprints), batch, rows, k, batch_stride, row_stride,
                        padded, width, slices, parts, left, check};
  if (batch == 0) return cudaSuccess;
  if (split::in_fours(source, k, row_stride, batch_stride)) return split::launch_rows<4>(p, stream);
  return split::launch_rows<1>(p, stream);
}

// source (batch, k, rows), rows contiguous.
extern "C" int split_columns(const float* source, void* pieces, float* scales, void* largest, long long batch,
                             long long rows, long long k, long long batch_stride, long long k_stride,
                             long long padded, long long width, long long slices, long long parts, bool left,
                             void* stream) {
  const split::Matrix p{source, static_cast<__half*>(pieces), scales, static_cast<unsigned*>(largest), nullptr, batch,
                        rows, k, batch_stride, k_stride, padded, width, slices, parts, left, false};
  if (batch == 0) return cudaSuccess;
  if (split::in_fours(source, rows, k_stride, batch_stride)) return split::launch_columns<4>(p, stream);
  return split::launch_columns<1>(p, stream);
}
