// gn_min_bias with the product split over the tensor cores.
//
// Every row of x and of the weight is scaled by a power of two so that its largest magnitude lies in [1, 2), and
// each value is cut into two pieces, v = hi + lo. The product of two rows is then
//     x . w = scale * (hi . hi  +  (hi . lo + lo . hi)),
// lo . lo being below what float keeps. hi . hi is a product in half precision, summed in float over slices of K.
// The cross terms are one product over twice K, of [hi lo] with [lo hi]: in half precision, or on an eight-bit
// grid a row (SCHEME_FP16_INT8), which is half the bytes and sums exactly. They are 2^-11 times smaller, so the
// grid costs little as long as no value towers over its row; pairs of rows where one does are computed
// again in float, slowly, so that no input loses accuracy (EVENNESS).
#include <cuda_fp16.h>

#include <type_traits>

#include "group_min.cuh"

#ifndef SCHEME
#define SCHEME_FP16_INT8 0
#define SCHEME_FP16X3 1
#define SCHEME SCHEME_FP16_INT8
#endif
#ifndef K_SLICES  // products that hi . hi is cut into, each summed by the tensor cores, together in float
#define K_SLICES 1
#endif
#ifndef SPLIT_BLOCK  // threads that split a row
#define SPLIT_BLOCK 256
#endif
#ifndef SPLIT_UNROLL  // vectors that such a thread has in flight
#define SPLIT_UNROLL 4
#endif

constexpr bool ON_GRID = SCHEME == SCHEME_FP16_INT8;
constexpr int IN_FLIGHT = SPLIT_UNROLL;  // a pragma takes no macro

using Cross = std::conditional_t<ON_GRID, int, float>;  // of a cross term

// |lo| <= 1 / LO_SCALE. On the grid, |hi| <= 2 and |lo| become integers up to 127.
constexpr float LO_SCALE = 2048.0f;
constexpr float HI_GRID = 64.0f, LO_GRID = 127.0f * LO_SCALE;
constexpr float CROSS_WEIGHT = ON_GRID ? 1.0f / (HI_GRID * LO_GRID) : 1.0f / LO_SCALE;
// What the grid does not serve is computed again in float. Its error goes with a row's largest magnitude, that of a
// product in float with its 2-norm: rows want max^2 <= norm^2 / EVENNESS, which keeps the error of the whole below
// about five times float's. And a sum of integers over more than LONGEST values may overflow.
constexpr float EVENNESS = 200.0f;
constexpr long long LONGEST = 65536;

// ---- splitting ----

// v * 2^exponent, exact unless the result is denormal; -150 <= exponent <= 150.
__device__ __forceinline__ float times_power(float v, int exponent) {
  const int half = exponent / 2, rest = exponent - half;
  return v * __int_as_float((127 + half) << 23) * __int_as_float((127 + rest) << 23);
}

struct Scan {
  unsigned long long fingerprint;  // of the row's bits
  unsigned largest, unused;        // bits of the largest magnitude; above those of Inf for NaN
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

template <int V>
__device__ Scan scan_row(const float* values, long long k) {
  constexpr unsigned long long STEP = 0xd1342543de82ef95ull;
  unsigned long long fingerprint = 0;
  unsigned largest = 0;
#pragma unroll IN_FLIGHT
  for (long long i = threadIdx.x; i < k / V; i += SPLIT_BLOCK) {
    const Vector<V> v = load<V>(values + i * V);
#pragma unroll
    for (int j = 0; j < V; j++) {
      const unsigned bits = __float_as_uint(v.at[j]);
      fingerprint = fingerprint * STEP + bits;
      largest = max(largest, bits & 0x7fffffffu);
    }
  }
  return {fingerprint * multiplier(threadIdx.x), largest, 0};
}

template <class T, int V>
struct alignas(sizeof(T) * V) Packed {
  T at[V];
};

__device__ __forceinline__ signed char on_grid(float v) {
  return static_cast<signed char>(max(-127, min(127, __float2int_rn(v))));
}

struct Splitting {
  const float* source;               // (rows, k)
  __half* half;                      // (padded_rows, padded_k) on the grid, else (padded_rows, 2 padded_k)
  signed char* grid;                 // (padded_rows, 2 padded_k), or null
  float* scales;                     // (padded_rows) powers of two; NaN for a row with NaN or Inf
  unsigned char* uneven;             // (padded_rows) whether the grid does not serve this row
  unsigned long long* fingerprints;  // (padded_rows)
  long long rows, k, padded_k;
  bool lo_first, check;  // order of the pieces in the cross product; keep rows whose fingerprint has not changed
};

// A block splits a row. Rows and columns beyond the source's own become zero.
template <int V>
__global__ void __launch_bounds__(SPLIT_BLOCK) split_rows(const Splitting p) {
  __shared__ Scan scratch[reduce_scratch(SPLIT_BLOCK, Reduction::shuffle)];
  const long long row = blockIdx.x;
  const bool real = row < p.rows;
  const float* values = p.source + row * p.k;
  Scan scan{0, 0, 0};
  if (real) scan = scan_row<V>(values, p.k);
  scan = block_reduce<SPLIT_BLOCK, Reduction::shuffle>(scan, MergeScans{}, scratch);
  if (p.check && p.fingerprints[row] == scan.fingerprint) return;

  const bool finite = scan.largest < 0x7f800000u;
  const float largest = __uint_as_float(scan.largest);
  const int exponent = finite && largest > 0.0f ? ilogbf(largest) : 0;
  const long long width = ON_GRID ? p.padded_k : 2 * p.padded_k;
  __half* const half = p.half + row * width;
  float square = 0.0f;
#pragma unroll IN_FLIGHT
  for (long long i = threadIdx.x; i < p.padded_k / V; i += SPLIT_BLOCK) {
    Vector<V> v = filled<V>(0.0f);
    if (real && finite && i * V < p.k) v = load<V>(values + i * V);
    Packed<__half, V> hi, lo;
    Packed<signed char, V> grid_hi, grid_lo;
#pragma unroll
    for (int j = 0; j < V; j++) {
      const float value = times_power(v.at[j], -exponent);
      hi.at[j] = __float2half_rn(value);
      const float rest = value - __half2float(hi.at[j]);  // exact
      lo.at[j] = __float2half_rn(rest * LO_SCALE);
      grid_hi.at[j] = on_grid(__half2float(hi.at[j]) * HI_GRID);
      grid_lo.at[j] = on_grid(rest * LO_GRID);
      square += value * value;
    }
    const long long first = i * V, second = p.padded_k + i * V;
    if constexpr (ON_GRID) {
      using Bytes = Packed<signed char, V>;
      signed char* const grid = p.grid + row * 2 * p.padded_k;
      *reinterpret_cast<Packed<__half, V>*>(half + first) = hi;
      *reinterpret_cast<Bytes*>(grid + first) = p.lo_first ? grid_lo : grid_hi;
      *reinterpret_cast<Bytes*>(grid + second) = p.lo_first ? grid_hi : grid_lo;
    } else {
      using Halves = Packed<__half, V>;
      *reinterpret_cast<Halves*>(half + first) = p.lo_first ? lo : hi;
      *reinterpret_cast<Halves*>(half + second) = p.lo_first ? hi : lo;
    }
  }
  square = block_reduce<SPLIT_BLOCK, Reduction::shuffle>(square, Sum{}, reinterpret_cast<float*>(scratch));
  if (threadIdx.x == 0) {
    const float peak = times_power(largest, -exponent);
    p.scales[row] = finite ? ldexpf(1.0f, exponent) : CUDART_NAN_F;
    p.uneven[row] = ON_GRID && real && finite && (peak * peak * EVENNESS > square || p.k > LONGEST);
    p.fingerprints[row] = scan.fingerprint;
  }
}

// source (rows, k) to its pieces; see Splitting. With `check`, what the buffers hold is the result of an earlier call.
extern "C" int split(const float* source, void* half, void* grid, float* scales, void* uneven, void* fingerprints,
                     long long rows, long long k, long long padded_rows, long long padded_k, long long lo_first,
                     long long check, void* stream) {
  if (padded_rows > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  const Splitting p{source,
                static_cast<__half*>(half),
                static_cast<signed char*>(grid),
                scales,
                static_cast<unsigned char*>(uneven),
                static_cast<unsigned long long*>(fingerprints),
                rows,
                k,
                padded_k,
                lo_first != 0,
                check != 0};
  const unsigned blocks = static_cast<unsigned>(padded_rows);
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  if (k % 4 == 0) {
    split_rows<4><<<blocks, SPLIT_BLOCK, 0, on>>>(p);
  } else {
    split_rows<1><<<blocks, SPLIT_BLOCK, 0, on>>>(p);
  }
  return cudaGetLastError();
}

// ---- pairs of rows that the grid does not serve: again, in float ----

constexpr int TILE = 64, TILE_K = 16;  // 16 x 16 threads, 4 x 4 products each

struct Pairs {
  const float *x, *w;                            // (n, k), (c, k)
  const float *x_scales, *w_scales;              // (n), (c)
  const unsigned char *x_uneven, *w_uneven;      // (n), (c)
  float* products;                               // (planes, padded n, width)
  Cross* cross;                                  // (padded n, width)
  long long n, c, k, width, plane, planes;
};

__global__ void __launch_bounds__(256) recompute_uneven(const Pairs p) {
  __shared__ float x_tile[TILE_K][TILE + 1], w_tile[TILE_K][TILE + 1];
  const long long n0 = blockIdx.y * static_cast<long long>(TILE), c0 = blockIdx.x * static_cast<long long>(TILE);
  const int t = threadIdx.x;
  bool any = false;
  if (t < TILE) any = n0 + t < p.n && p.x_uneven[n0 + t];
  if (t >= TILE && t < 2 * TILE) any = c0 + t - TILE < p.c && p.w_uneven[c0 + t - TILE];
  if (!__syncthreads_or(any)) return;

  // Each thread brings four values a step of its own row of x and of w.
  const int own = t / 4;
  const long long own_n = min(n0 + own, p.n - 1), own_c = min(c0 + own, p.c - 1);
  const float x_scale = p.x_scales[own_n], w_scale = p.w_scales[own_c];
  const int x_exponent = isfinite(x_scale) ? -ilogbf(x_scale) : 0;
  const int w_exponent = isfinite(w_scale) ? -ilogbf(w_scale) : 0;
  const int at_n = t / 16, at_c = t % 16;
  float sums[4][4] = {};
  for (long long k0 = 0; k0 < p.k; k0 += TILE_K) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int within = t % 4 * 4 + j;
      const bool present = k0 + within < p.k;
      x_tile[within][own] = present ? times_power(p.x[own_n * p.k + k0 + within], x_exponent) : 0.0f;
      w_tile[within][own] = present ? times_power(p.w[own_c * p.k + k0 + within], w_exponent) : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < TILE_K; k++) {
      float a[4], b[4];
#pragma unroll
      for (int i = 0; i < 4; i++) a[i] = x_tile[k][at_n + 16 * i], b[i] = w_tile[k][at_c + 16 * i];
#pragma unroll
      for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) sums[i][j] = fmaf(a[i], b[j], sums[i][j]);
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 4; i++) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const long long n = n0 + at_n + 16 * i, c = c0 + at_c + 16 * j;
      if (n < p.n && c < p.c && (p.x_uneven[n] || p.w_uneven[c])) {
        const long long at = n * p.width + c;
        p.products[at] = sums[i][j];
        for (long long plane = 1; plane < p.planes; plane++) p.products[plane * p.plane + at] = 0.0f;
        p.cross[at] = 0;
      }
    }
  }
}

// Overwrites the products and cross terms of uneven rows; scaled as those are.
extern "C" int recompute(const float* x, const float* w, const float* x_scales, const float* w_scales,
                         const void* x_uneven, const void* w_uneven, float* products, void* cross, long long n,
                         long long c, long long k, long long width, long long plane, long long planes, void* stream) {
  const Pairs p{x,
                w,
                x_scales,
                w_scales,
                static_cast<const unsigned char*>(x_uneven),
                static_cast<const unsigned char*>(w_uneven),
                products,
                static_cast<Cross*>(cross),
                n,
                c,
                k,
                width,
                plane,
                planes};
  if (n == 0 || c == 0) return cudaSuccess;
  if (ceil_div(n, TILE) > 65535 || ceil_div(c, TILE) > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  const dim3 grid(static_cast<unsigned>(ceil_div(c, TILE)), static_cast<unsigned>(ceil_div(n, TILE)));
  recompute_uneven<<<grid, 256, 0, static_cast<cudaStream_t>(stream)>>>(p);
  return cudaGetLastError();
}

// ---- what the tensor cores left, read as the product ----

struct Pieces {
  static constexpr bool SCALED = true;
  const float* products;  // (planes, padded rows, width)
  const Cross* cross;     // (padded rows, width)
  const float *row_scales, *channel_scales;
  long long width, plane, planes;

  template <int V>
  __device__ __forceinline__ Vector<V> read(long long row, long long channel) const {
    const long long at = row * width + channel;
    Vector<V> part[K_SLICES];
    const Vector<V> small = load_once<V>(reinterpret_cast<const float*>(cross) + at);
#pragma unroll
    for (int i = 0; i < K_SLICES; i++) {
      part[i] = i < planes ? load_once<V>(products + i * plane + at) : filled<V>(0.0f);
    }
    Vector<V> v;
#pragma unroll
    for (int k = 0; k < V; k++) {
      v.at[k] = CROSS_WEIGHT * (ON_GRID ? __int2float_rn(__float_as_int(small.at[k])) : small.at[k]);
#pragma unroll
      for (int i = 0; i < K_SLICES; i++) v.at[k] += part[i].at[k];
    }
    return v;
  }
  __device__ float row_scale(long long row) const { return __ldg(row_scales + row); }
  template <int V>
  __device__ Vector<V> channel_scale(long long channel) const {
    return load<V>(channel_scales + channel);
  }
};

// products (planes, padded n, width), cross (padded n, width), both without their rows' scales; the rest as in group_min.
extern "C" int group_min_of_pieces(const float* products, const void* cross, const float* row_scales,
                                   const float* channel_scales, const float* linear_bias, const float* weight,
                                   const float* bias, float* minima, long long n, long long c, long long g,
                                   long long width, long long plane, long long planes, double eps, void* stream) {
  const Norm norm{linear_bias, weight, bias, minima, n, g, c / g, 0, static_cast<float>(eps)};
  const Pieces pieces{products, static_cast<const Cross*>(cross), row_scales, channel_scales, width, plane, planes};
  return launch_group_min(pieces, width % VECTOR_WIDTH == 0, norm, static_cast<cudaStream_t>(stream));
}
