// What a convolution's blocks do with their accumulators: the functors of families/functor.hpp, which read the output
// where it is, in registers. PRODUCT is the number of the output among a functor's inputs; the others are read from
// memory, in the same places. With KEPT the output is written, too, for later kernels.
#pragma once
#include "convolution/implicit.cuh"
#include "core/reduce.cuh"
#include "families/rounds.cuh"
#include "numerics/monoids.hpp"

// The output alone.
struct ImplicitStore {
  static constexpr int INPUTS = 1, RESULTS = 1;
  const Element* input[1];
  Element* result[1];
  struct Row {};
  TUNER_INLINE Row row(Index) const { return {}; }
  TUNER_INLINE void map(const Row&, Index, const float (&in)[1], float (&out)[1]) const { out[0] = in[0]; }
};

// Values of one channel at a position, and at the next one where both are phases of one place.
template <int E>
__device__ __forceinline__ void store_phases(float* to, const float (&v)[E], const bool (&there)[E], bool paired) {
  if constexpr (E == 2) {
    if (paired && there[0] && there[1]) {
      *reinterpret_cast<float2*>(to) = make_float2(v[0], v[1]);
      return;
    }
  }
#pragma unroll
  for (int e = 0; e < E; e++) {
    if (there[e]) to[e] = v[e];
  }
}

template <class G, class F, int PRODUCT, bool KEPT>
struct ImplicitMap {
  F f;
  float* kept;

  template <class Share, int R>
  __device__ __forceinline__ void operator()(const Share& share, const float (&d)[R]) const {
    constexpr int E = Share::phases == 2 ? 2 : 1;  // positions of one channel side by side
    const ImplicitSizes& sizes = share.sizes;
    const bool paired = sizes.out[2] % 2 == 0;
    const long long first = static_cast<long long>(share.tile.sample) * G::out;
#pragma unroll
    for (int j = 0; j < R / 4; j++) {
#pragma unroll
      for (int k = 0; k < 2; k += E) {
        const int channel = share.channel(j, k);
        if (channel >= G::out) continue;
        const Index r = static_cast<Index>(first + channel);
        const auto row = f.row(r);
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const int phase = share.phase(j, k), i = share.position(half, phase);
          if (!share.exists(half, phase)) continue;
          const long long at = (first + channel) * sizes.positions + i;
          bool there[E];
          float made[places(F::RESULTS)][E], product[E];
#pragma unroll
          for (int e = 0; e < E; e++) {
            there[e] = e == 0 || share.exists(half, phase + e);
            float in[places(F::INPUTS)], out[places(F::RESULTS)];
#pragma unroll
            for (int n = 0; n < F::INPUTS; n++) {
              in[n] = n == PRODUCT ? d[4 * j + 2 * half + k + e] : there[e] ? to_float(f.input[n][at + e]) : 0.0f;
            }
            f.map(row, static_cast<Index>(i + e), in, out);
#pragma unroll
            for (int n = 0; n < F::RESULTS; n++) made[n][e] = out[n];
            product[e] = d[4 * j + 2 * half + k + e];
          }
          if constexpr (KEPT) store_phases(kept + at, product, there, paired);
#pragma unroll
          for (int n = 0; n < F::RESULTS; n++) store_phases(f.result[n] + at, made[n], there, paired);
        }
      }
    }
  }
};

// Rounds over all channels of a position, which a block's columns hold: four lanes have them.
template <class G, class F, int PRODUCT, bool KEPT>
struct ImplicitColumns {
  F f;
  float* kept;

  template <class Share, int R>
  __device__ __forceinline__ void operator()(const Share& share, const float (&d)[R]) const {
    constexpr int E = Share::phases == 2 ? 2 : 1, PLACES = 2 * E, MINE = R / PLACES;
    const ImplicitSizes& sizes = share.sizes;
    const long long first = static_cast<long long>(share.tile.sample) * G::out;
    // A thread's channels: 8 j + 2 q + k, or with two phases 4 j + q.
    const auto channel = [&](int c) { return E == 2 ? share.channel(c, 0) : share.channel(c / 2, c % 2); };
#pragma unroll
    for (int place = 0; place < PLACES; place++) {
      const int half = place / E, phase = place % E;
      const bool exists = share.exists(half, phase);
      const int i = exists ? share.position(half, phase) : 0;
      const Index r = static_cast<Index>(static_cast<long long>(share.tile.sample) * sizes.positions + i);
      auto row = f.row(r);
      const auto value = [&](int c) { return E == 2 ? d[4 * c + 2 * half + phase] : d[c / 2 * 4 + 2 * half + c % 2]; };
      const auto item = [&](const typename F::Row& of, int c) {
        float in[places(F::INPUTS)];
#pragma unroll
        for (int n = 0; n < F::INPUTS; n++) {
          in[n] = n == PRODUCT ? value(c) : to_float(f.input[n][(first + channel(c)) * sizes.positions + i]);
        }
        return f.item(of, static_cast<Index>(channel(c)), in);
      };
      const auto find = [&](auto number, const typename F::Row& of) {
        constexpr int K = decltype(number)::value;
        using State = typename F::Rounds::template State<K>;
        State state = State::identity();
        if constexpr (G::out % 8 == 0) {
          constexpr int RUNS = E == 2 ? 1 : 2, EACH = MINE / RUNS, STEP = E == 2 ? 4 : 8;
#pragma unroll
          for (int run = 0; run < RUNS; run++) {
            typename State::Value v[EACH];
#pragma unroll
            for (int j = 0; j < EACH; j++) {
              const int c = j * RUNS + run;
              v[j] = f.lift(Round<K>(), of, static_cast<Index>(channel(c)), item(of, c));
            }
            state.add(v, channel(run), STEP);
          }
        } else {
#pragma unroll
          for (int c = 0; c < MINE; c++) {
            if (channel(c) >= G::out) continue;
            const typename State::Value v[1] = {f.lift(Round<K>(), of, static_cast<Index>(channel(c)), item(of, c))};
            state.add(v, channel(c), 1);
          }
        }
        return warp_reduce<4>(state, MergeStates());
      };
      close_rounds<0, F::Rounds::COUNT>(f, row, find);
      if (!exists) continue;
      if (threadIdx.x % 4 == 0) write_totals(f, row, r);
      if constexpr (F::RESULTS > 0 || KEPT) {
#pragma unroll
        for (int c = 0; c < MINE; c++) {
          if (channel(c) >= G::out) continue;
          const long long at = (first + channel(c)) * sizes.positions + i;
          if constexpr (KEPT) kept[at] = value(c);
          if constexpr (F::RESULTS > 0) {
            float out[places(F::RESULTS)];
            f.results(row, static_cast<Index>(channel(c)), item(row, c), out);
#pragma unroll
            for (int n = 0; n < F::RESULTS; n++) f.result[n][at] = to_element(out[n]);
          }
        }
      }
    }
  }
};
