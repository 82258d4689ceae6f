// What the families of rounds, rows and columns, have in common on CUDA.
#pragma once
#include <type_traits>

#include "core/launch.cuh"
#include "families/functor.hpp"

struct MergeStates {
  template <class State>
  __device__ State operator()(const State& a, const State& b) const {
    return State::merge(a, b);
  }
};

template <class Rounds>
struct RoundsBytes;
template <class... States>
struct RoundsBytes<RoundsOf<States...>> {
  static constexpr int largest() {
    int bytes = 8;
    for (const int each : {static_cast<int>(sizeof(States))...}) bytes = each > bytes ? each : bytes;
    return ceil_div(bytes, 8) * 8;
  }
};

template <class F>
constexpr int state_bytes = RoundsBytes<typename F::Rounds>::largest();

// Closes the rounds [K, END): `find(std::integral_constant<int, K>, row)` is the state of round K.
template <int K, int END, class F, class Find>
__device__ __forceinline__ void close_rounds(const F& f, typename F::Row& row, const Find& find) {
  if constexpr (K < END) {
    f.close(Round<K>(), row, find(std::integral_constant<int, K>(), static_cast<const typename F::Row&>(row)));
    close_rounds<K + 1, END>(f, row, find);
  }
}

template <class F>
__device__ __forceinline__ void write_totals(const F& f, const typename F::Row& row, Index r) {
  if constexpr (F::TOTALS > 0) {
    typename F::Total out[places(F::TOTALS)];
    f.totals(row, out);
    TUNER_UNROLL
    for (int k = 0; k < F::TOTALS; k++) f.total[k][r] = out[k];
  }
}

inline long long multiprocessors() {
  int device = 0, count = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
  return count;
}
