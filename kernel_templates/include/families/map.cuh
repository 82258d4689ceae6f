// Maps over rows of elements, several tensors in and out: each element is read once and written once.
//
// The rows lie one behind the other, so a block takes a run of the whole, and a thread `unroll` vectors of it, all
// loaded before the first is used. Where the row's length is no multiple of a vector, a vector may hold the end of one
// row and the start of the next. What is aligned only to an element moves one element at a time.
//
// Schedule: block_size, vector_width, unroll (vectors of a tensor a thread has under way), streaming (what is read and
// written leaves the caches first).
#pragma once
#include "core/divide.hpp"
#include "core/launch.cuh"
#include "core/pack.cuh"
#include "families/addresses.cuh"
#include "families/functor.hpp"
#include "numerics/element.hpp"

struct MapSizes {
  long long count;  // elements of all rows
  Index length;
  Divider by_length;  // for rows that are shorter than what a block takes
  WideDivider base_by_length;
};

// V elements of the block's run, `at` elements from its start at `base`; `count` of them exist. WHOLE: all do, and are
// of one row.
template <bool ONCE, bool WHOLE, int V, class F>
__device__ __forceinline__ void map_vector(const F& f, Index r, Index i, Index length, int count,
                                           const Pack<Element, V> (&held)[places(F::INPUTS)], long long address) {
  Pack<Element, V> made[places(F::RESULTS)];
  auto row = f.row(r);
  TUNER_UNROLL
  for (int j = 0; j < V; j++) {
    if constexpr (!WHOLE) {
      if (j >= count) break;
      if (i + j == length) {
        i -= length;
        row = f.row(++r);
      }
    }
    float in[places(F::INPUTS)], out[places(F::RESULTS)];
    TUNER_UNROLL
    for (int k = 0; k < F::INPUTS; k++) in[k] = to_float(held[k].at[j]);
    f.map(row, i + j, in, out);
    TUNER_UNROLL
    for (int k = 0; k < F::RESULTS; k++) made[k].at[j] = to_element(out[k]);
  }
  TUNER_UNROLL
  for (int k = 0; k < F::RESULTS; k++) {
    if (WHOLE || count >= V) {
      store_pack<V, ONCE>(f.result[k] + address, made[k]);
    } else {
      TUNER_UNROLL
      for (int j = 0; j < V; j++) {
        if (j < count) f.result[k][address + j] = made[k].at[j];
      }
    }
  }
}

template <class Schedule, int V, bool WHOLE, class F>
__global__ void __launch_bounds__(Schedule::block_size) map_rows(const F f, const MapSizes sizes) {
  constexpr int unroll = Schedule::unroll, step = Schedule::block_size * V, run = step * unroll;
  constexpr bool once = Schedule::streaming;
  const long long base = static_cast<long long>(blockIdx.x) * run;
  const int left = sizes.count - base < run ? static_cast<int>(sizes.count - base) : run;
  Pack<Element, V> held[unroll][places(F::INPUTS)];
  TUNER_UNROLL
  for (int u = 0; u < unroll; u++) {
    const int at = u * step + static_cast<int>(threadIdx.x) * V;
    TUNER_UNROLL
    for (int k = 0; k < F::INPUTS; k++) {
      const Element* p = f.input[k] + base + at;
      if (at + V <= left) {
        held[u][k] = load_pack<V, once>(p);
      } else if (!WHOLE) {
        TUNER_UNROLL
        for (int j = 0; j < V; j++) {
          if (at + j < left) held[u][k].at[j] = p[j];
        }
      }
    }
  }
  const Index first_row = static_cast<Index>(sizes.base_by_length.quotient(base));
  const Index first = static_cast<Index>(base - static_cast<long long>(first_row) * sizes.length);
  TUNER_UNROLL
  for (int u = 0; u < unroll; u++) {
    const int at = u * step + static_cast<int>(threadIdx.x) * V;
    if (at >= left) break;
    Index r = first_row, i = first + at;
    if (sizes.length > run) {  // at most one row ends in here
      if (at >= sizes.length - first) r++, i = at - (sizes.length - first);
    } else {
      const Index rows = sizes.by_length.quotient(i);
      r += rows, i -= rows * sizes.length;
    }
    map_vector<once, WHOLE>(f, r, i, sizes.length, left - at, held[u], base + at);
  }
}

template <class Schedule, int V, bool WHOLE, class F>
inline int start_map(const F& f, const MapSizes& sizes, cudaStream_t stream) {
  const long long blocks = ceil_div(sizes.count, static_cast<long long>(Schedule::block_size) * V * Schedule::unroll);
  if (blocks > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  map_rows<Schedule, V, WHOLE><<<static_cast<unsigned>(blocks), Schedule::block_size, 0, stream>>>(f, sizes);
  return cudaGetLastError();
}

// rows and length below 2^32.
template <class Schedule, class F>
int launch_map(const F& f, long long rows, long long length, void* stream) {
  constexpr int V = Schedule::vector_width;
  if (rows * length == 0) return cudaSuccess;
  if (rows > UINT_MAX || length > UINT_MAX) return cudaErrorInvalidConfiguration;
  const MapSizes sizes{rows * length, static_cast<Index>(length), Divider(static_cast<Index>(length)),
                       WideDivider(length)};
  const auto to = static_cast<cudaStream_t>(stream);
  if (!inputs_aligned<V>(f) || !results_aligned<V>(f)) return start_map<Schedule, 1, true>(f, sizes, to);
  return length % V == 0 ? start_map<Schedule, V, true>(f, sizes, to) : start_map<Schedule, V, false>(f, sizes, to);
}
