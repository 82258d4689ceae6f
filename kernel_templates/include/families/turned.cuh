// Maps whose inputs lie channels-last and whose results do not: what follows a convolution in that layout. The functor
// is one of `map`; of row r = n * channels + c and position i, an input's element lies at (n * positions + i) *
// channels + c, a result's at (n * channels + c) * positions + i.
//
// A thread reads a patch of V positions x V channels of each input, turns it over in registers and writes V vectors. Or
// a tile goes through shared memory, as it always does where one of the sizes is not of whole vectors. With few
// channels or few positions, threads take single results, side by side, and leave the gathering to the caches.
//
// Schedule: block_size, vector_width, staged (through shared memory), unroll (patches a thread, or a tile's positions
// by 32), lanes (of a warp along the positions of its patches), streaming (what is read and written leaves the caches
// first).
#pragma once
#include "core/divide.hpp"
#include "core/launch.cuh"
#include "core/pack.cuh"
#include "families/addresses.cuh"
#include "families/functor.hpp"
#include "families/unchanged.hpp"
#include "numerics/element.hpp"

struct TurnedSizes {
  Index samples, channels, positions;
  Index wide, high;  // pieces of a sample along the channels and along the positions, each a warp's or a block's
  Divider by_wide, by_high;

  __host__ __device__ __forceinline__ long long input_at(Index n, Index c, Index i) const {
    return (static_cast<long long>(n) * positions + i) * channels + c;
  }
  __host__ __device__ __forceinline__ long long result_at(Index n, Index c, Index i) const {
    return (static_cast<long long>(n) * channels + c) * positions + i;
  }
};

struct TurnedPiece {
  Index n, channel, position;  // where it starts
};

__device__ __forceinline__ TurnedPiece turned_piece(const TurnedSizes& sizes, Index piece, Index channels,
                                                    Index positions) {
  const Index line = sizes.by_wide.quotient(piece), n = sizes.by_high.quotient(line);
  return {n, (piece - line * sizes.wide) * channels, (line - n * sizes.high) * positions};
}

// ---- patches in registers: a piece is a warp's ----

// One channel of the warp's patches.
template <class Schedule, int V, class F>
__device__ __forceinline__ void turn_channel(const F& f, const TurnedSizes& sizes, TurnedPiece piece, int j,
                                             const Pack<Element, V> (&held)[Schedule::unroll][places(F::INPUTS)][V]) {
  const auto row = f.row(piece.n * sizes.channels + piece.channel + j);
  TUNER_UNROLL
  for (int u = 0; u < Schedule::unroll; u++) {
    const Index first = piece.position + u * Schedule::lanes * V;
    if (first >= sizes.positions) continue;
    Pack<Element, V> made[places(F::RESULTS)];
    TUNER_UNROLL
    for (int i = 0; i < V; i++) {
      float in[places(F::INPUTS)], out[places(F::RESULTS)];
      TUNER_UNROLL
      for (int k = 0; k < F::INPUTS; k++) in[k] = to_float(held[u][k][i].at[j]);
      f.map(row, first + i, in, out);
      TUNER_UNROLL
      for (int k = 0; k < F::RESULTS; k++) made[k].at[i] = to_element(out[k]);
    }
    TUNER_UNROLL
    for (int k = 0; k < F::RESULTS; k++) {
      store_pack<V, Schedule::streaming>(f.result[k] + sizes.result_at(piece.n, piece.channel + j, first), made[k]);
    }
  }
}

template <class Schedule, int V, class F>
__global__ void __launch_bounds__(Schedule::block_size) turn_patches(const F f, const TurnedSizes sizes) {
  constexpr int lanes = Schedule::lanes, across = 32 / lanes, unroll = Schedule::unroll;
  const Index warp = blockIdx.x * (Schedule::block_size / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
  TurnedPiece piece = turned_piece(sizes, warp, across * V, lanes * V * unroll);
  piece.channel += lane / lanes * V, piece.position += lane % lanes * V;
  if (piece.n >= sizes.samples || piece.channel >= sizes.channels) return;
  Pack<Element, V> held[unroll][places(F::INPUTS)][V];
  TUNER_UNROLL
  for (int u = 0; u < unroll; u++) {
    const Index first = piece.position + u * lanes * V;
    if (first >= sizes.positions) continue;
    TUNER_UNROLL
    for (int k = 0; k < F::INPUTS; k++) {
      TUNER_UNROLL
      for (int i = 0; i < V; i++) {
        const long long from = sizes.input_at(piece.n, piece.channel, first + i);
        held[u][k][i] = load_pack<V, Schedule::streaming>(f.input[k] + from);
      }
    }
  }
  TUNER_UNROLL
  for (int j = 0; j < V; j++) turn_channel<Schedule, V>(f, sizes, piece, j, held);
}

template <class Schedule, int V, class F>
inline int start_turn_patches(const F& f, TurnedSizes sizes, cudaStream_t stream) {
  sizes.wide = static_cast<Index>(ceil_div(sizes.channels, 32 / Schedule::lanes * V));
  sizes.high = static_cast<Index>(ceil_div(sizes.positions, Schedule::lanes * V * Schedule::unroll));
  sizes.by_wide = Divider(sizes.wide), sizes.by_high = Divider(sizes.high);
  const long long warps = static_cast<long long>(sizes.samples) * sizes.wide * sizes.high;
  if (warps > INT_MAX - 32) return cudaErrorInvalidConfiguration;
  const unsigned blocks = static_cast<unsigned>(ceil_div(warps, Schedule::block_size / 32));
  turn_patches<Schedule, V><<<blocks, Schedule::block_size, 0, stream>>>(f, sizes);
  return cudaGetLastError();
}

// ---- tiles in shared memory: a piece is a block's ----

// A tile's channels fill a line of the caches, and lie an odd number of elements apart: neither way meets a bank
// conflict. A thread writes `pair` positions at once where they are a word.
template <class Schedule, class F>
struct TurnedTile {
  static constexpr int size = sizeof(Element), channels = 128 / size, pair = 4 / size;
  static constexpr int room = 48 * 1024 / (128 * places(F::INPUTS)) - 1;  // positions that shared memory holds
  static constexpr int most = room >= 128 ? 128 : room >= 64 ? 64 : 32;
  static constexpr int positions = 32 * Schedule::unroll < most ? 32 * Schedule::unroll : most, pitch = positions + 1;
};

template <class Tile, class F>
using TurnedTiles = Element[places(F::INPUTS)][Tile::channels * Tile::pitch];

// From device memory, V channels at a time; all of a thread's loads are under way before the first is used.
template <class Schedule, int V, class Tile, class F>
__device__ __forceinline__ void load_tile(const F& f, const TurnedSizes& sizes, TurnedPiece piece,
                                          TurnedTiles<Tile, F>& tile) {
  constexpr int threads = Schedule::block_size, across = Tile::channels / V;
  constexpr int each = static_cast<int>(ceil_div(across * Tile::positions, threads));  // vectors a thread
  Pack<Element, V> held[each][places(F::INPUTS)];
  TUNER_UNROLL
  for (int e = 0; e < each; e++) {
    const int at = e * threads + threadIdx.x, c = at % across * V, i = at / across;
    if (i >= Tile::positions || piece.channel + c >= sizes.channels || piece.position + i >= sizes.positions) continue;
    const long long from = sizes.input_at(piece.n, piece.channel + c, piece.position + i);
    TUNER_UNROLL
    for (int k = 0; k < F::INPUTS; k++) held[e][k] = load_pack<V, Schedule::streaming>(f.input[k] + from);
  }
  TUNER_UNROLL
  for (int e = 0; e < each; e++) {
    const int at = e * threads + threadIdx.x, c = at % across * V, i = at / across;
    if (i >= Tile::positions) continue;
    TUNER_UNROLL
    for (int k = 0; k < F::INPUTS; k++) {
      TUNER_UNROLL
      for (int j = 0; j < V; j++) tile[k][(c + j) * Tile::pitch + i] = held[e][k].at[j];
    }
  }
}

// W positions at a time; the positions are a multiple of W.
template <class Schedule, int V, int W, class F>
__global__ void __launch_bounds__(Schedule::block_size) turn_tiles(const F f, const TurnedSizes sizes) {
  using Tile = TurnedTile<Schedule, F>;
  __shared__ TurnedTiles<Tile, F> tile;
  const TurnedPiece piece = turned_piece(sizes, blockIdx.x, Tile::channels, Tile::positions);
  load_tile<Schedule, V, Tile>(f, sizes, piece, tile);
  __syncthreads();
#pragma unroll 4
  for (int c = threadIdx.x / 32; c < Tile::channels; c += Schedule::block_size / 32) {
    if (piece.channel + c >= sizes.channels) break;
    const auto row = f.row(piece.n * sizes.channels + piece.channel + c);
    const long long base = sizes.result_at(piece.n, piece.channel + c, piece.position);
    TUNER_UNROLL
    for (int i = threadIdx.x % 32 * W; i < Tile::positions; i += 32 * W) {
      if (piece.position + i >= sizes.positions) break;
      Pack<Element, W> made[places(F::RESULTS)];
      TUNER_UNROLL
      for (int w = 0; w < W; w++) {
        float in[places(F::INPUTS)], out[places(F::RESULTS)];
        TUNER_UNROLL
        for (int k = 0; k < F::INPUTS; k++) in[k] = to_float(tile[k][c * Tile::pitch + i + w]);
        f.map(row, piece.position + i + w, in, out);
        TUNER_UNROLL
        for (int k = 0; k < F::RESULTS; k++) made[k].at[w] = to_element(out[k]);
      }
      TUNER_UNROLL
      for (int k = 0; k < F::RESULTS; k++) store_pack<W, Schedule::streaming>(f.result[k] + base + i, made[k]);
    }
  }
}

template <class Schedule, int V, int W, class F>
inline int start_turn_tiles(const F& f, TurnedSizes sizes, cudaStream_t stream) {
  using Tile = TurnedTile<Schedule, F>;
  sizes.wide = static_cast<Index>(ceil_div(sizes.channels, Tile::channels));
  sizes.high = static_cast<Index>(ceil_div(sizes.positions, Tile::positions));
  sizes.by_wide = Divider(sizes.wide), sizes.by_high = Divider(sizes.high);
  const long long blocks = static_cast<long long>(sizes.samples) * sizes.wide * sizes.high;
  if (blocks > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  turn_tiles<Schedule, V, W><<<static_cast<unsigned>(blocks), Schedule::block_size, 0, stream>>>(f, sizes);
  return cudaGetLastError();
}

template <class Schedule, int V, class F>
inline int turn_tiles_widest(const F& f, const TurnedSizes& sizes, cudaStream_t stream) {
  constexpr int pair = TurnedTile<Schedule, F>::pair;
  if constexpr (pair > 1) {
    if (sizes.positions % pair == 0 && results_aligned<pair>(f)) {
      return start_turn_tiles<Schedule, V, pair>(f, sizes, stream);
    }
  }
  return start_turn_tiles<Schedule, V, 1>(f, sizes, stream);
}

// ---- a result a thread ----

// Four results a thread, a block's threads apart.
template <class Schedule, class F>
__global__ void __launch_bounds__(Schedule::block_size) turn_one_by_one(const F f, const TurnedSizes sizes,
                                                                        const WideDivider by_positions,
                                                                        const WideDivider by_channels) {
  const long long first = static_cast<long long>(blockIdx.x) * (4 * Schedule::block_size) + threadIdx.x;
  TUNER_UNROLL
  for (int j = 0; j < 4; j++) {
    const long long at = first + j * Schedule::block_size;
    const Index r = static_cast<Index>(by_positions.quotient(at)), n = static_cast<Index>(by_channels.quotient(r));
    if (n >= sizes.samples) continue;
    const Index i = static_cast<Index>(at - static_cast<long long>(r) * sizes.positions);
    float in[places(F::INPUTS)], out[places(F::RESULTS)];
    TUNER_UNROLL
    for (int k = 0; k < F::INPUTS; k++) in[k] = to_float(f.input[k][sizes.input_at(n, r - n * sizes.channels, i)]);
    f.map(f.row(r), i, in, out);
    TUNER_UNROLL
    for (int k = 0; k < F::RESULTS; k++) f.result[k][at] = to_element(out[k]);
  }
}

template <class Schedule, class F>
inline int start_turn_one_by_one(const F& f, const TurnedSizes& sizes, cudaStream_t stream) {
  const long long count = static_cast<long long>(sizes.samples) * sizes.channels * sizes.positions;
  const long long blocks = ceil_div(count, 4 * Schedule::block_size);
  if (blocks > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  turn_one_by_one<Schedule><<<static_cast<unsigned>(blocks), Schedule::block_size, 0, stream>>>(
      f, sizes, WideDivider(sizes.positions), WideDivider(sizes.channels));
  return cudaGetLastError();
}

// ---- which of them ----

template <class Schedule, int V, class F>
inline int turn_widest(const F& f, const TurnedSizes& sizes, cudaStream_t stream) {
  const bool vectors = sizes.channels % V == 0 && inputs_aligned<V>(f);
  if constexpr (!Schedule::staged) {
    if (vectors && sizes.positions % V == 0 && results_aligned<V>(f)) {
      return start_turn_patches<Schedule, V>(f, sizes, stream);
    }
    if constexpr (V > 4) return turn_widest<Schedule, V / 2>(f, sizes, stream);
  }
  return vectors ? turn_tiles_widest<Schedule, V>(f, sizes, stream) : turn_tiles_widest<Schedule, 1>(f, sizes, stream);
}

// Rows (samples x channels) and positions below 2^31.
template <class Schedule, class F>
int launch_turned(const F& f, long long samples, long long channels, long long positions, void* stream) {
  constexpr long long few = 16;
  if (samples * channels * positions == 0) return cudaSuccess;
  if (samples * channels > INT_MAX || positions > INT_MAX) return cudaErrorInvalidConfiguration;
  const TurnedSizes sizes{static_cast<Index>(samples), static_cast<Index>(channels), static_cast<Index>(positions)};
  const auto to = static_cast<cudaStream_t>(stream);
  if (channels < few || positions < few) return start_turn_one_by_one<Schedule>(f, sizes, to);
  return turn_widest<Schedule, Schedule::vector_width>(f, sizes, to);
}

// x (samples, channels, positions) -> y (samples, positions, channels): rows and positions change their parts.
template <class Schedule>
int launch_turn_in(const Element* x, Element* y, long long samples, long long channels, long long positions,
                   void* stream) {
  return launch_turned<Schedule>(Unchanged{{x}, {y}}, samples, positions, channels, stream);
}
