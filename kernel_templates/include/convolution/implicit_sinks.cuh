// What a convolution's blocks do with their accumulators: the functors of families/functor.hpp, which read the output
// where it is, in registers. PRODUCT is the number of the output among a functor's inputs; the others are read from
// memory, in the same places. With KEPT the output is written, too, for later kernels.
#pragma once
#include "convolution/implicit.cuh"
#include "core/pack.cuh"
#include "core/reduce.cuh"
#include "families/addresses.cuh"
#include "families/rounds.cuh"
#include "families/unchanged.hpp"
#include "numerics/monoids.hpp"

// The threads of a warpgroup, whose number is of the block.
__device__ __forceinline__ void warpgroup_sync() {
  asm volatile("bar.sync %0, 128;" ::"r"(1 + threadIdx.x / 128) : "memory");
}

// A part of a warpgroup's columns, channel by channel in shared memory.
template <class Share, int R>
__device__ __forceinline__ void turn_columns(const Share& share, const float (&d)[R], float* turned, int part) {
  using L = typename Share::L;
  constexpr int E = Share::phases;
  warpgroup_sync();
#pragma unroll
  for (int k = 0; k < L::turned_columns / 2; k++) {
    const int column = Share::column(k / 4, k % 2), from = part * (L::turned_columns / 2) + k;
    float* const to = turned + column / E * L::turned_stride + Share::row(threadIdx.x % 128, k / 2 % 2) * E + column % E;
    if constexpr (E > 1) {
      *to = d[from];
    } else if (k % 4 < 2) {  // with the other position, which is beside it
      *reinterpret_cast<float2*>(to) = make_float2(d[from], d[from + 2]);
    }
  }
  warpgroup_sync();
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
#pragma unroll
    for (int part = 0; part < L::columns / L::turned_columns; part++) {
      turn_columns(share, d, turned, part);
      const int first = share.tile.columns / Share::phases + part * L::turned_channels;
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
        if constexpr (Share::L::all_columns == Share::L::columns) {  // none is padding
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

// One round over all positions of a channel, or of `together` channels: a state of every tile and channel, which
// finish_rows puts together.
template <class G, class F, bool KEPT>
struct ImplicitRows {
  static constexpr bool turns = true;
  using State = typename F::Rounds::template State<0>;
  F f;
  ImplicitMap<G, Unchanged, 0, false> store;
  State* partial;  // (samples, channels, slots)
  int together, slots;

  template <class Share, int R>
  __device__ __forceinline__ void operator()(const Share& share, const float (&d)[R], float* turned) const {
    using L = typename Share::L;
    constexpr int E = Share::phases, room = 128 / L::turned_channels, sharers = room >= 16 ? 16 : room >= 8 ? 8 : 4;
    constexpr int each = L::turned_positions / sharers;
    static_assert(F::Rounds::COUNT == 1 && F::RESULTS == 0 && F::INPUTS == 1, "totals of the output alone");
    __shared__ State states[L::S::warpgroups][L::turned_channels];
    const ImplicitSizes& sizes = share.sizes;
    const int t = threadIdx.x % 128, c = t / sharers, sharer = t % sharers;
    // Of the boxes of a sample's channel, this one's number.
    int slot = share.tile.of_class;
#pragma unroll
    for (int dim = 0; dim < 3; dim++) slot = slot * sizes.tiles[dim] + share.tile.origin[dim] / L::tile(dim);
#pragma unroll
    for (int part = 0; part < L::columns / L::turned_columns; part++) {
      turn_columns(share, d, turned, part);
      const int first = share.tile.columns / E + part * L::turned_channels, channel = first + c;
      if constexpr (KEPT) {
        if (L::vector == 1 || store.wide) {
          store.template write<L::vector>(share, turned, first);
        } else {
          store.template write<1>(share, turned, first);
        }
      }
      State state = State::identity();
      if (channel < G::out && c < L::turned_channels) {
        const Index r = static_cast<Index>(share.tile.sample * (G::out / together) + channel / together);
        const auto row = f.row(r);
        const Index base = static_cast<Index>(channel % together) * static_cast<Index>(sizes.positions);
        const auto lifted = [&](int place, Index i) {
          const float in[1] = {turned[c * L::turned_stride + place]};
          return f.lift(Round<0>(), row, i, f.item(row, i, in));
        };
        const auto place_of = [&](int k) { return sharer + k * sharers; };
        if (share.is_whole()) {
          typename State::Value v[each];
#pragma unroll
          for (int k = 0; k < each; k++) v[k] = lifted(place_of(k), base + share.number(place_of(k)));
          state.add(v, base + share.number(sharer), sharers);
        } else {
#pragma unroll 1
          for (int first_k = 0; first_k < each; first_k += 4) {
            bool all = true;
#pragma unroll
            for (int k = 0; k < 4; k++) all = all && share.has(place_of(first_k + k));
            if (all) {
              typename State::Value v[4];
#pragma unroll
              for (int k = 0; k < 4; k++) v[k] = lifted(place_of(first_k + k), base + share.number(place_of(first_k + k)));
              state.add(v, base + share.number(place_of(first_k)), sharers);
              continue;
            }
#pragma unroll 1
            for (int k = first_k; k < first_k + 4; k++) {
              if (!share.has(place_of(k))) continue;
              const Index i = base + share.number(place_of(k));
              const typename State::Value v[1] = {lifted(place_of(k), i)};
              state.add(v, i, 1);
            }
          }
        }
      }
      state = warp_reduce<sharers>(state, MergeStates());
      if (sharer == 0 && c < L::turned_channels) states[threadIdx.x / 128][c] = state;
      __syncthreads();
      if (threadIdx.x < L::turned_channels && first + static_cast<int>(threadIdx.x) < G::out) {
        State all = states[0][threadIdx.x];
#pragma unroll
        for (int g = 1; g < L::S::warpgroups; g++) all = State::merge(all, states[g][threadIdx.x]);
        partial[(static_cast<long long>(share.tile.sample) * G::out + first + threadIdx.x) * slots + slot] = all;
      }
      __syncthreads();
    }
  }
};

// Row blockIdx.x: of so many states, one behind the other.
template <class F>
__global__ void __launch_bounds__(256) finish_rows(const F f, const typename F::Rounds::template State<0>* partial,
                                                   long long count) {
  using State = typename F::Rounds::template State<0>;
  __shared__ State scratch[reduce_scratch(256, Reduction::shuffle)];
  partial += blockIdx.x * count;
  State state = State::identity();
  for (long long at = threadIdx.x; at < count; at += 256) state = State::merge(state, partial[at]);
  state = block_reduce<256, Reduction::shuffle>(state, MergeStates(), scratch);
  if (threadIdx.x == 0) {
    auto row = f.row(blockIdx.x);
    f.close(Round<0>(), row, state);
    write_totals(f, row, blockIdx.x);
  }
}

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

// Rows are channels, or `together` of them that lie side by side. The states lie behind the packed weights.
template <class G, class S, bool KEPT, class F>
int launch_implicit_rows(const F& f, const ImplicitCall& call, long long together, void* stream) {
  using L = ImplicitLayout<G, S>;
  using State = typename F::Rounds::template State<0>;
  long long slots = L::Taps::classes;
  for (int dim = 0; dim < 3; dim++) {
    slots *= ceil_div(G::transposed ? ceil_div(call.out[dim], L::Taps::stride(dim)) : call.out[dim], L::tile(dim));
  }
  const long long packed = ceil_div(L::packed_words * 4, 256) * 256;
  if (call.packed_bytes < packed + call.samples * G::out * slots * static_cast<long long>(sizeof(State))) {
    return cudaErrorInvalidValue;
  }
  if (slots > INT_MAX || call.samples * G::out > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  Unchanged store{};
  store.result[0] = call.kept;
  const bool wide = call.out[2] % L::vector == 0 && is_aligned<float, L::vector>(call.kept);
  auto* const partial = reinterpret_cast<State*>(static_cast<char*>(call.packed) + packed);
  const ImplicitRows<G, F, KEPT> sink{f, {store, nullptr, wide}, partial, static_cast<int>(together), static_cast<int>(slots)};
  const int error = launch_implicit<G, S>(call, sink, stream);
  if (error != cudaSuccess || call.samples == 0) return error;
  const auto rows = static_cast<unsigned>(call.samples * (G::out / together));
  finish_rows<<<rows, 256, 0, static_cast<cudaStream_t>(stream)>>>(f, partial, together * slots);
  return cudaGetLastError();
}

template <class G, class S>
int launch_implicit_store(const ImplicitCall& call, void* stream) {
  Unchanged f{};
  f.result[0] = call.kept;
  return launch_implicit_map<G, S, 0, false>(f, call, stream);
}
