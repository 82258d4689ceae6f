// Running sums and products along an axis, with maps before and after.
//
// The axis is innermost: a block or a warp takes a row, chunk by chunk. A warp's part of a chunk is `unroll` runs of a
// vector a lane; lanes, runs and warps are scanned in turn, in float, and the carry from chunk to chunk is a double.
// Else: a thread takes a vector of columns and runs in double.
//
// Schedule: block_size, vector_width, unroll (vectors a thread; of columns, eight times as many), warp_a_row (else a
// block).
#pragma once
#include "core/launch.cuh"
#include "core/pack.cuh"
#include "families/addresses.cuh"
#include "families/functor.hpp"
#include "numerics/element.hpp"

template <class F, class T>
__device__ __forceinline__ T run_on(T a, T b) {
  return F::product ? a * b : a + b;
}

template <class F>
__device__ __forceinline__ float run_nothing() {
  return F::product ? 1.0f : 0.0f;
}

// What the lanes up to this one, itself included, come to.
template <class F>
__device__ __forceinline__ float scan_lanes(float value) {
  const int lane = threadIdx.x % 32;
  TUNER_UNROLL
  for (int step = 1; step < 32; step *= 2) {
    const float before = __shfl_up_sync(0xffffffffu, value, step);
    if (lane >= step) value = run_on<F>(before, value);
  }
  return value;
}

// V elements one after the other in the direction of the scan, from `position` on.
template <class F, int V>
struct ScanVector {
  Pack<Element, V> held[places(F::INPUTS)];
  float running[V];  // with the elements of this vector up to here

  static __device__ __forceinline__ Index first(Index position, Index length) {
    return F::reverse ? length - V - position : position;
  }
  static __device__ __forceinline__ constexpr int place(int j) { return F::reverse ? V - 1 - j : j; }

  __device__ __forceinline__ void inputs(int j, float (&in)[places(F::INPUTS)]) const {
    TUNER_UNROLL
    for (int k = 0; k < F::INPUTS; k++) in[k] = to_float(held[k].at[place(j)]);
  }

  __device__ __forceinline__ void load(const F& f, long long address) {
    TUNER_UNROLL
    for (int k = 0; k < F::INPUTS; k++) held[k] = load_pack<V, true>(f.input[k] + address);
  }

  __device__ __forceinline__ void lift(const F& f, const typename F::Row& row, Index at) {
    TUNER_UNROLL
    for (int j = 0; j < V; j++) {
      float in[places(F::INPUTS)];
      inputs(j, in);
      const float value = f.lift(row, at + place(j), in);
      running[j] = j == 0 ? value : run_on<F>(running[j > 0 ? j - 1 : 0], value);
    }
  }

  // `before`: what all elements ahead of the vector come to.
  __device__ __forceinline__ void store(const F& f, const typename F::Row& row, Index at, long long address,
                                        float before) const {
    Pack<Element, V> made;
    TUNER_UNROLL
    for (int j = 0; j < V; j++) {
      float in[places(F::INPUTS)], out[1], now = before;
      inputs(j, in);
      if (!F::exclusive) now = run_on<F>(before, running[j]);
      if (F::exclusive && j > 0) now = run_on<F>(before, running[j > 0 ? j - 1 : 0]);
      f.results(row, at + place(j), in, now, out);
      made.at[place(j)] = to_element(out[0]);
    }
    store_pack<V, true>(f.result[0] + address, made);
  }
};

// Rows of whole vectors. A chunk is `warps` times what a warp takes, RUNS vectors a lane.
template <class Schedule, int V, int RUNS, class F>
__global__ void __launch_bounds__(Schedule::block_size) scan_rows(const F f, long long rows, Index length) {
  constexpr int warps = Schedule::warp_a_row ? 1 : Schedule::block_size / 32;
  constexpr Index chunk = warps * RUNS * 32 * V;
  __shared__ float totals[2][32];
  const int warp = Schedule::warp_a_row ? 0 : threadIdx.x / 32, lane = threadIdx.x % 32;
  const long long r =
      Schedule::warp_a_row ? blockIdx.x * (Schedule::block_size / 32LL) + threadIdx.x / 32 : blockIdx.x;
  if (r >= rows) return;
  const auto row = f.row(static_cast<Index>(r));
  const long long base = r * length;
  double carry = run_nothing<F>();
  for (Index begin = 0, turn = 0; begin < length; begin += chunk, turn ^= 1) {
    const Index mine = begin + (warp * RUNS * 32 + lane) * V;
    ScanVector<F, V> vectors[RUNS];
    float ahead[RUNS], total = run_nothing<F>();  // what the runs before, and the lanes before in this, come to
    TUNER_UNROLL
    for (int u = 0; u < RUNS; u++) {
      const Index position = mine + u * 32 * V;
      if (position < length) vectors[u].load(f, base + vectors[u].first(position, length));
    }
    TUNER_UNROLL
    for (int u = 0; u < RUNS; u++) {
      const Index position = mine + u * 32 * V;
      float sum = run_nothing<F>();
      if (position < length) {
        vectors[u].lift(f, row, vectors[u].first(position, length));
        sum = vectors[u].running[V - 1];
      }
      const float through = scan_lanes<F>(sum), before = __shfl_up_sync(0xffffffffu, through, 1);
      ahead[u] = lane == 0 ? total : run_on<F>(total, before);
      total = run_on<F>(total, __shfl_sync(0xffffffffu, through, 31));
    }
    double start = carry;
    if constexpr (warps > 1) {
      if (lane == 0) totals[turn][warp] = total;
      __syncthreads();
      const float through = scan_lanes<F>(lane < warps ? totals[turn][lane] : run_nothing<F>());
      const float before = __shfl_sync(0xffffffffu, through, warp > 0 ? warp - 1 : 0);
      if (warp > 0) start = run_on<F>(carry, static_cast<double>(before));
      total = __shfl_sync(0xffffffffu, through, 31);
    }
    carry = run_on<F>(carry, static_cast<double>(total));
    TUNER_UNROLL
    for (int u = 0; u < RUNS; u++) {
      const Index position = mine + u * 32 * V;
      if (position >= length) continue;
      const Index at = vectors[u].first(position, length);
      const float before = static_cast<float>(run_on<F>(start, static_cast<double>(ahead[u])));
      vectors[u].store(f, row, at, base + at, before);
    }
  }
}

// V columns of an axis that is not innermost, side by side.
template <class F, int V>
struct ScanColumns {
  typename F::Row row[V];
  double running[V];
  long long base;
  Index length, inner;

  // The address and the place of the element that is scanned as the `step`-th.
  __device__ __forceinline__ Index place(Index step) const { return F::reverse ? length - 1 - step : step; }
  __device__ __forceinline__ long long address(Index i) const { return base + static_cast<long long>(i) * inner; }

  template <int STEPS>
  __device__ __forceinline__ void load(const F& f, Index begin,
                                       Pack<Element, V> (&held)[STEPS][places(F::INPUTS)]) const {
    TUNER_UNROLL
    for (int u = 0; u < STEPS; u++) {
      if (begin + u >= length) continue;
      const long long from = address(place(begin + u));
      TUNER_UNROLL
      for (int k = 0; k < F::INPUTS; k++) held[u][k] = load_pack<V, true>(f.input[k] + from);
    }
  }

  __device__ __forceinline__ void step(const F& f, Index at, const Pack<Element, V> (&held)[places(F::INPUTS)]) {
    const Index i = place(at);
    Pack<Element, V> made;
    TUNER_UNROLL
    for (int v = 0; v < V; v++) {
      float in[places(F::INPUTS)], out[1];
      TUNER_UNROLL
      for (int k = 0; k < F::INPUTS; k++) in[k] = to_float(held[k].at[v]);
      const double before = running[v];
      running[v] = run_on<F>(before, static_cast<double>(f.lift(row[v], i, in)));
      f.results(row[v], i, in, static_cast<float>(F::exclusive ? before : running[v]), out);
      made.at[v] = to_element(out[0]);
    }
    store_pack<V, true>(f.result[0] + address(i), made);
  }
};

// 8 x `unroll` elements of each column, as far as registers hold them, are loaded while those before are scanned.
template <class Schedule, int V, class F>
__global__ void __launch_bounds__(Schedule::block_size) scan_columns(const F f, long long columns, Index length,
                                                                     Index inner) {
  constexpr int most = V > 2 ? 32 / V : 16, unroll = 8 * Schedule::unroll < most ? 8 * Schedule::unroll : most;
  const long long r = (static_cast<long long>(blockIdx.x) * Schedule::block_size + threadIdx.x) * V;
  if (r >= columns) return;
  const long long outer = r / inner;
  ScanColumns<F, V> mine;
  mine.length = length, mine.inner = inner, mine.base = outer * length * inner + (r - outer * inner);
  TUNER_UNROLL
  for (int v = 0; v < V; v++) mine.row[v] = f.row(static_cast<Index>(r + v)), mine.running[v] = run_nothing<F>();
  Pack<Element, V> held[unroll][places(F::INPUTS)], next[unroll][places(F::INPUTS)];
  mine.load(f, 0, held);
  for (Index begin = 0; begin < length; begin += unroll) {
    mine.load(f, begin + unroll, next);
    TUNER_UNROLL
    for (int u = 0; u < unroll; u++) {
      if (begin + u < length) mine.step(f, begin + u, held[u]);
    }
    TUNER_UNROLL
    for (int u = 0; u < unroll; u++) {
      TUNER_UNROLL
      for (int k = 0; k < F::INPUTS; k++) held[u][k] = next[u][k];
    }
  }
}

template <class Schedule, int V, class F>
inline int start_scan(const F& f, long long outer, long long length, long long inner, cudaStream_t stream) {
  constexpr int threads = Schedule::block_size, runs = Schedule::unroll * Schedule::vector_width / V;
  const long long rows = outer * inner;
  const long long a_block = inner > 1 ? static_cast<long long>(threads) * V : Schedule::warp_a_row ? threads / 32 : 1;
  const long long blocks = ceil_div(rows, a_block);
  if (blocks > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  if (inner > 1) {
    scan_columns<Schedule, V><<<static_cast<unsigned>(blocks), threads, 0, stream>>>(
        f, rows, static_cast<Index>(length), static_cast<Index>(inner));
  } else {
    scan_rows<Schedule, V, runs><<<static_cast<unsigned>(blocks), threads, 0, stream>>>(f, rows,
                                                                                      static_cast<Index>(length));
  }
  return cudaGetLastError();
}

// Columns (outer x inner) and length below 2^31.
template <class Schedule, class F>
int launch_scan(const F& f, long long outer, long long length, long long inner, void* stream) {
  constexpr int V = Schedule::vector_width;
  if (outer * length * inner == 0) return cudaSuccess;
  if (outer * inner > INT_MAX || length > INT_MAX) return cudaErrorInvalidConfiguration;
  const bool vectors = (inner > 1 ? inner : length) % V == 0 && inputs_aligned<V>(f) && results_aligned<V>(f);
  const auto to = static_cast<cudaStream_t>(stream);
  return vectors ? start_scan<Schedule, V>(f, outer, length, inner, to)
                 : start_scan<Schedule, 1>(f, outer, length, inner, to);
}
