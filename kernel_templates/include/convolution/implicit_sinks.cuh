// What a convolution's blocks do with their accumulators: the functors of families/functor.hpp, which read the output
// where it is, in registers. PRODUCT is the number of the output among a functor's inputs; the others are read from
// memory, in the same places. With KEPT the output is written, too, for later kernels.
#pragma once
#include "convolution/implicit.cuh"
#include "core/pack.cuh"
#include "core/reduce.cuh"
#include "families/addresses.cuh"
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

// The threads of a warpgroup, whose number is of the block.
__device__ __forceinline__ void warpgroup_sync() {
  asm volatile("bar.sync %0, 128;" ::"r"(1 + threadIdx.x / 128) : "memory");
}

// A result at each position and channel. Positions and phases of a tile's row lie side by side.
template <class G, class F, int PRODUCT, bool KEPT>
struct ImplicitMap {
  static constexpr bool turns = true;
  F f;
  float* kept;
  bool wide;  // whether vectors lie where they may be read and written

  template <class Share, int R>
  __device__ __forceinline__ void operator()(const Share& share, const float (&d)[R], float* turned) const {
    using L = typename Share::L;
    constexpr int E = Share::phases, parts = L::columns / L::turned_columns;
    const int t = threadIdx.x % 128;
#pragma unroll
    for (int part = 0; part < parts; part++) {
      warpgroup_sync();
#pragma unroll
      for (int k = 0; k < L::turned_columns / 2; k++) {
        const int column = Share::column(k / 4, k % 2), at = k % 4 < 2 ? k + 2 : k;  // the other position is beside it
        if (E == 1 && k % 4 >= 2) continue;
        float* const to = turned + column / E * L::turned_stride + Share::row(t, k / 2 % 2) * E + column % E;
        const int from = part * (L::turned_columns / 2);
        if constexpr (E == 1) {
          *reinterpret_cast<float2*>(to) = make_float2(d[from + k], d[from + at]);
        } else {
          *to = d[from + k];
        }
      }
      warpgroup_sync();
      const int first = share.tile.columns / E + part * L::turned_channels;
      if (L::vector == 1 || wide) {
        write<L::vector>(share, turned, first);
      } else {
        write<1>(share, turned, first);
      }
    }
  }

  // The channels from `first` on, V positions side by side a thread.
  template <int V, class Share>
  __device__ __forceinline__ void write(const Share& share, const float* turned, int first) const {
    using L = typename Share::L;
    constexpr int E = Share::phases, across = L::turned_positions / V;
    const ImplicitSizes& sizes = share.sizes;
    const int t = threadIdx.x % 128, place = t % across * V, p = threadIdx.x / 128 * 64 + place / E;
    const int d0 = share.output_of(share.tile.origin[0] + p / (L::tile_height * L::tile_width), 0, 0);
    const int h0 = share.output_of(share.tile.origin[1] + p / L::tile_width % L::tile_height, 1, 0);
    const int w0 = share.output_of(share.tile.origin[2] + p % L::tile_width, 2, place % E);
    if (d0 >= sizes.out[0] || h0 >= sizes.out[1] || w0 >= sizes.out[2]) return;
    const Index i = static_cast<Index>((d0 * sizes.out[1] + h0) * sizes.out[2] + w0);
    const Index r0 = static_cast<Index>(share.tile.sample * G::out + first);
    const long long start = static_cast<long long>(r0) * sizes.positions + i;
#pragma unroll 4
    for (int c = t / across; c < L::turned_channels; c += 128 / across) {
      if (G::out % L::turned_channels != 0 && first + c >= G::out) break;
      const long long at = start + static_cast<long long>(c) * sizes.positions;
      const auto row = f.row(r0 + c);
      Pack<float, V> product = *reinterpret_cast<const Pack<float, V>*>(turned + c * L::turned_stride + place);
      Pack<Element, V> held[places(F::INPUTS)], made[places(F::RESULTS)];
#pragma unroll
      for (int n = 0; n < F::INPUTS; n++) {
        if (n != PRODUCT) held[n] = load_pack<V, false>(f.input[n] + at);
      }
#pragma unroll
      for (int v = 0; v < V; v++) {
        float in[places(F::INPUTS)], out[places(F::RESULTS)];
#pragma unroll
        for (int n = 0; n < F::INPUTS; n++) in[n] = n == PRODUCT ? product.at[v] : to_float(held[n].at[v]);
        f.map(row, i + v, in, out);
#pragma unroll
        for (int n = 0; n < F::RESULTS; n++) made[n].at[v] = to_element(out[n]);
      }
      if constexpr (KEPT) store_pack<V, false>(kept + at, product);
#pragma unroll
      for (int n = 0; n < F::RESULTS; n++) store_pack<V, false>(f.result[n] + at, made[n]);
    }
  }
};

// Rounds over all channels of a position, which a block's columns hold: four lanes have them.
template <class G, class F, int PRODUCT, bool KEPT>
struct ImplicitColumns {
  static constexpr bool turns = false;
  F f;
  float* kept;

  template <class Share, int R>
  __device__ __forceinline__ void operator()(const Share& share, const float (&d)[R], float*) const {
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

// ---- launchers: a convolution of geometry G with schedule S, and the functor `f` as its end ----

template <class G, class S, int PRODUCT, bool KEPT, class F>
int launch_implicit_map(F f, const ImplicitCall& call, void* stream) {
  constexpr int vector = ImplicitLayout<G, S>::vector;
  bool wide = call.out[2] % vector == 0 && results_aligned<vector>(f) && is_aligned<float, vector>(call.kept);
  for (int k = 0; k < F::INPUTS; k++) wide = wide && (k == PRODUCT || is_aligned<Element, vector>(f.input[k]));
  return launch_implicit<G, S>(call, ImplicitMap<G, F, PRODUCT, KEPT>{f, call.kept, wide}, stream);
}

// A block's columns hold all channels.
template <class G, class S, int PRODUCT, bool KEPT, class F>
int launch_implicit_columns(const F& f, const ImplicitCall& call, void* stream) {
  static_assert(ImplicitLayout<G, S>::column_tiles == 1, "a block has all channels of a position");
  return launch_implicit<G, S>(call, ImplicitColumns<G, F, PRODUCT, KEPT>{f, call.kept}, stream);
}

template <class G, class S>
int launch_implicit_store(const ImplicitCall& call, void* stream) {
  ImplicitStore f{};
  f.result[0] = call.kept;
  return launch_implicit_map<G, S, 0, false>(f, call, stream);
}
