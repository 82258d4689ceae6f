// Convolutions of floats by Hopper's warpgroup products (sm_90a), with an end of one's own: what is computed from the
// output is computed from the accumulators, and the output itself is written only where somebody wants it.
//
// A block takes a box of output positions and a tile of columns (implicit_layout.cuh). The part of the input under the
// box lies in shared memory, `chunk` channels at a time, as it lies in memory: contiguous positions of a channel. For
// every tap a thread gathers its operands A there and rounds them, so neither the layout changes nor are values repeated.
// Weights are packed as the products read them by a kernel ahead, and come by bulk copies. Blocks stay, and fetch the
// next tile's inputs while they finish one.
//
// With pieces = 2 values and weights are cut into two of TF32; sums over a chunk are added up in fp32. A result that is
// not finite is computed again in plain fp32, since zeros among packed weights and low parts make NaN of Inf.
#pragma once
#include <cstdint>

#include "convolution/implicit_layout.cuh"
#include "core/barriers.cuh"
#include "core/copy_groups.cuh"
#include "core/divide.hpp"
#include "core/gang.cuh"
#include "core/launch.cuh"
#include "core/wgmma_tf32.cuh"
#include "families/functor.hpp"
#include "numerics/element.hpp"
#include "numerics/split.cuh"

struct ImplicitSizes {
  int samples, in[3], out[3];  // depth, height, width
  int in_positions, positions;  // of a sample's channel
  int tiles[3];                 // boxes of a class along a dimension
  long long count;              // of all tiles
  WideDivider by_columns, by_classes, by_tiles[3];
};

// A block's share of the product.
struct ImplicitTile {
  int sample, of_class, columns, origin[3];  // first column; first of the class's outputs along each dimension
};

template <class L>
__device__ __forceinline__ ImplicitTile implicit_tile(const ImplicitSizes& sizes, long long number) {
  ImplicitTile tile;
  unsigned long long n = number;
  const auto next = [&](const WideDivider& by) {
    const unsigned long long q = by.quotient(n), left = n - q * by.divisor;
    n = q;
    return static_cast<int>(left);
  };
  tile.columns = next(sizes.by_columns) * L::columns;
  tile.of_class = next(sizes.by_classes);
#pragma unroll
  for (int dim = 2; dim >= 0; dim--) tile.origin[dim] = next(sizes.by_tiles[dim]) * L::tile(dim);
  tile.sample = static_cast<int>(n);
  return tile;
}

// ---- the weights, packed ----

// Weight of output channel o for input channel i at a tap of a class, 0 where there is none.
template <class G>
__device__ __forceinline__ float implicit_weight(const float* weight, int of_class, int column, int i, int tap) {
  using Taps = ImplicitTaps<G>;
  const int phase = column % Taps::phases, o = column / Taps::phases;
  if (o >= G::out || i >= G::in) return 0.0f;
  const int across = Taps::range(2, of_class).taps, down = Taps::range(1, of_class).taps;
  const int at[3] = {tap / across / down, tap / across % down, tap % across};
  long long place = G::transposed ? static_cast<long long>(i) * G::out + o : static_cast<long long>(o) * G::in + i;
  for (int dim = 0; dim < 3; dim++) {
    const int k = Taps::kernel_tap(dim, of_class, phase, at[dim]);
    if (k < 0) return 0.0f;
    place = place * ImplicitTaps<G>::kernel(dim) + k;
  }
  return weight[place];
}

template <class G, class L>
__global__ void __launch_bounds__(256) pack_implicit(const float* weight, uint32_t* packed) {
  const long long at = static_cast<long long>(blockIdx.x) * 256 + threadIdx.x;
  int of_class = 0;
  while (of_class + 1 < L::Taps::classes && at * L::pieces >= L::class_start(of_class + 1)) of_class++;
  const long long inside = at - L::class_start(of_class) / L::pieces;  // of one piece
  if (at * L::pieces >= L::packed_words) return;
  const int steps = L::steps(of_class), word = static_cast<int>(inside % L::step_words);
  const long long step_at = inside / L::step_words;
  const int step = static_cast<int>(step_at % steps), chunk = static_cast<int>(step_at / steps % L::chunks);
  const int tile = static_cast<int>(step_at / steps / L::chunks);
  const int column = tile * L::columns + word / 64 * 8 + word / 4 % 8, across = L::across(of_class);
  const int line = step / across * 2 + word / 32 % 2, row = line / (L::chunk / 4);
  const int channel = chunk * L::chunk + line % (L::chunk / 4) * 4 + word % 4;
  const bool real = row < L::rows(of_class);
  const float w = real ? implicit_weight<G>(weight, of_class, column, channel, row * across + step % across) : 0.0f;
  uint32_t* to = packed + L::class_start(of_class) + step_at * L::pieces * L::step_words + word;
  const uint32_t high = round_tf32(w);
  to[0] = high;
  if (L::pieces == 2) {
    const float low = w - __uint_as_float(high);
    to[L::step_words] = round_tf32(isfinite(w) ? low : 0.0f);
  }
}

// ---- what comes from memory ----

template <int BYTES>
__device__ __forceinline__ void copy_or_zero(void* shared, const void* global, bool is_there) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(barriers::address(shared)), "l"(global), "n"(BYTES),
               "r"(is_there ? BYTES : 0)
               : "memory");
}

// The box of inputs under a tile, a chunk of channels; zeros beyond the input and beyond its channels.
template <class G, class L>
__device__ __forceinline__ void stage_input(const float* x, const ImplicitSizes& sizes, const ImplicitTile& tile,
                                            int chunk, float* to) {
  int first[3];
#pragma unroll
  for (int dim = 0; dim < 3; dim++) {
    const TapRange of = L::Taps::range(dim, 0);
    int start = of.first;
    if constexpr (L::Taps::classes > 1) {
#pragma unroll
      for (int c = 1; c < L::Taps::classes; c++) {
        if (tile.of_class == c) start = L::Taps::range(dim, c).first;
      }
    }
    first[dim] = tile.origin[dim] * of.step + start;
  }
  const float* from = x + (static_cast<long long>(tile.sample) * G::in + chunk * L::chunk) * sizes.in_positions;
#pragma unroll 2
  for (int at = threadIdx.x; at < L::box; at += L::threads) {
    const int d = at / L::plane + first[0], h = at / L::halo_width % L::halo_height + first[1], w = at % L::halo_width + first[2];
    const bool inside = static_cast<unsigned>(d) < static_cast<unsigned>(sizes.in[0]) &&
                        static_cast<unsigned>(h) < static_cast<unsigned>(sizes.in[1]) &&
                        static_cast<unsigned>(w) < static_cast<unsigned>(sizes.in[2]);
    const float* p = inside ? from + (static_cast<long long>(d) * sizes.in[1] + h) * sizes.in[2] + w : x;
#pragma unroll
    for (int c = 0; c < L::chunk; c++) {
      const bool is_there = inside && (G::in % L::chunk == 0 || chunk * L::chunk + c < G::in);
      copy_or_zero<4>(to + c * L::channel_stride + at, is_there ? p : x, is_there);
      p += inside ? sizes.in_positions : 0;
    }
  }
}

// A chunk's weights, of the tile's class and columns: one thread.
template <class L>
__device__ __forceinline__ void stage_weights(const float* packed, const ImplicitTile& tile, int chunk, float* to,
                                              unsigned long long* barrier) {
  long long start = 0;
  int steps = L::steps(0);
#pragma unroll
  for (int c = 1; c < L::Taps::classes; c++) {
    if (c == tile.of_class) start = L::class_start(c), steps = L::steps(c);
  }
  const int words = steps * L::pieces * L::step_words, column_tile = tile.columns / L::columns;
  const long long at = start + (static_cast<long long>(column_tile) * L::chunks + chunk) * words;
  barriers::arrive_expecting(barrier, words * 4);
  barriers::copy_bulk(to, packed + at, words * 4, barrier);
}

// ---- the product ----

// The inputs side by side that a thread multiplies: of two channels, or rows of taps; rounded, and their low parts.
template <class L, int CLASS>
struct ImplicitOperands {
  static constexpr int span = L::span(CLASS);
  uint32_t at[L::pieces][2][span];

  template <int PAIR>
  __device__ __forceinline__ void gather(const float* from) {
    constexpr int places[2] = {L::line_place(CLASS, 2 * PAIR), L::line_place(CLASS, 2 * PAIR + 1)};
    gather_line<0, places[0]>(from);
    gather_line<1, places[1]>(from);
  }

  template <int SIDE, int PLACE>
  __device__ __forceinline__ void gather_line(const float* from) {
#pragma unroll
    for (int i = 0; i < span; i += 2) {
      const float2 v = *reinterpret_cast<const float2*>(from + PLACE + i);
      keep<SIDE>(i, v.x);
      if (i + 1 < span) keep<SIDE>(i + 1, v.y);
    }
  }

  template <int SIDE>
  __device__ __forceinline__ void keep(int i, float v) {
    at[0][SIDE][i] = round_tf32(v);
    if constexpr (L::pieces == 2) at[1][SIDE][i] = round_tf32(v - __uint_as_float(at[0][SIDE][i]));
  }

  __device__ __forceinline__ void settle() {
#pragma unroll
    for (int p = 0; p < L::pieces; p++) {
#pragma unroll
      for (int i = 0; i < span; i++) asm volatile("" : "+r"(at[p][0][i]), "+r"(at[p][1][i])::"memory");
    }
  }

  // A of a tap, for positions side by side.
  __device__ __forceinline__ void operands(int piece, int tap, uint32_t (&a)[4]) const {
    const int first = tap * L::Taps::range(2, 0).apart, second = first + L::Taps::range(2, 0).step;
    a[0] = at[piece][0][first], a[1] = at[piece][0][second], a[2] = at[piece][1][first], a[3] = at[piece][1][second];
  }

  // d += the products of a pair of lines, a group of their own.
  template <int R>
  __device__ __forceinline__ void multiply(float (&d)[R], uint64_t b) {
    settle();
    wgmma_fence();
#pragma unroll
    for (int tap = 0; tap < L::across(CLASS); tap++) {
      uint32_t a[4];
      if constexpr (L::pieces == 2) {
        operands(1, tap, a);
        wgmma_tf32(d, a, b);
        operands(0, tap, a);
        wgmma_tf32(d, a, b + L::step_words * 4 / 16);
      }
      operands(0, tap, a);
      wgmma_tf32(d, a, b);
      b += L::pieces * L::step_words * 4 / 16;  // a descriptor counts 16 bytes
    }
    wgmma_commit();
  }
};

// Pairs PAIR and on: the operands of one are gathered while the one before it is multiplied.
template <class L, int CLASS, int PAIR, int R>
__device__ __forceinline__ void multiply_from(float (&d)[R], const float* from, uint64_t b, ImplicitOperands<L, CLASS>& a,
                                              ImplicitOperands<L, CLASS>& next) {
  a.multiply(d, b + PAIR * L::across(CLASS) * (L::pieces * L::step_words * 4 / 16));
  if constexpr (PAIR + 1 < L::pairs(CLASS)) {
    wgmma_wait_for<1>();
    next.template gather<PAIR + 1>(from);
    multiply_from<L, CLASS, PAIR + 1>(d, from, b, next, a);
  }
}

// d += the products of a chunk, of the tile's class. `from` is where the thread's inputs begin.
template <class L, int CLASS = 0, int R>
__device__ __forceinline__ void multiply_chunk(float (&d)[R], const float* from, uint64_t b, int of_class) {
  if (CLASS == of_class || L::Taps::classes == 1) {
    if constexpr (L::steps(CLASS) > 0) {
      ImplicitOperands<L, CLASS> a, next;
      a.template gather<0>(from);
      wgmma_settle(d);
      multiply_from<L, CLASS, 0>(d, from, b, a, next);
      wgmma_wait_for<0>();
      wgmma_settle(d);
    }
  } else if constexpr (CLASS + 1 < L::Taps::classes) {
    multiply_chunk<L, CLASS + 1>(d, from, b, of_class);
  }
}

// One result in plain fp32.
template <class G>
__device__ __noinline__ float implicit_again(const float* x, const float* weight, const ImplicitSizes& sizes, int sample,
                                             int channel, int d, int h, int w) {
  const int out[3] = {d, h, w};
  float sum = 0.0f;
  for (int kd = 0; kd < ImplicitTaps<G>::kernel_0; kd++) {
    for (int kh = 0; kh < ImplicitTaps<G>::kernel_1; kh++) {
      for (int kw = 0; kw < ImplicitTaps<G>::kernel_2; kw++) {
        const int tap[3] = {kd, kh, kw};
        long long from = 0;
        bool inside = true;
        for (int dim = 0; dim < 3; dim++) {
          int i = out[dim] * ImplicitTaps<G>::stride(dim) - ImplicitTaps<G>::padding(dim) + tap[dim] * ImplicitTaps<G>::dilation(dim);
          if (G::transposed) {
            i = out[dim] + ImplicitTaps<G>::padding(dim) - tap[dim] * ImplicitTaps<G>::dilation(dim);
            inside = inside && i % ImplicitTaps<G>::stride(dim) == 0;
            i /= ImplicitTaps<G>::stride(dim);
          }
          inside = inside && i >= 0 && i < sizes.in[dim];
          from = from * sizes.in[dim] + i;
        }
        if (!inside) continue;
        for (int c = 0; c < G::in; c++) {
          const long long row = G::transposed ? static_cast<long long>(c) * G::out + channel
                                              : static_cast<long long>(channel) * G::in + c;
          const long long place = ((row * ImplicitTaps<G>::kernel_0 + kd) * ImplicitTaps<G>::kernel_1 + kh) * ImplicitTaps<G>::kernel_2 + kw;
          sum += x[(static_cast<long long>(sample) * G::in + c) * sizes.in_positions + from] * weight[place];
        }
      }
    }
  }
  return sum;
}

// What a thread has of a tile: values d[4 j + 2 half + e] of column 8 j + 2 (lane % 4) + e at one of two positions side by
// side, which stand for rows eight apart of the product.
template <class G, class Layout>
struct ImplicitShare {
  using L = Layout;
  static constexpr int phases = L::Taps::phases, held = L::columns / 2;
  const ImplicitSizes& sizes;
  const ImplicitTile& tile;
  int lattice[2][3];  // outputs of the class, along each dimension

  static __device__ __forceinline__ int row(int thread, int half) { return thread / 32 * 16 + thread % 32 / 4 * 2 + half; }

  __device__ ImplicitShare(const ImplicitSizes& all, const ImplicitTile& of) : sizes(all), tile(of) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int p = row(threadIdx.x, half);
      const int at[3] = {p / (L::tile_height * L::tile_width), p / L::tile_width % L::tile_height, p % L::tile_width};
#pragma unroll
      for (int dim = 0; dim < 3; dim++) lattice[half][dim] = tile.origin[dim] + at[dim];
    }
  }

  __device__ __forceinline__ int residue(int dim, int phase) const {
    if (!G::transposed) return 0;
    return dim == 0 ? tile.of_class / ImplicitTaps<G>::stride_1 : dim == 1 ? tile.of_class % ImplicitTaps<G>::stride_1 : phase;
  }
  // The output that one of the class's is.
  __device__ __forceinline__ int output_of(int of_lattice, int dim, int phase) const {
    return G::transposed ? of_lattice * ImplicitTaps<G>::stride(dim) + residue(dim, phase) : of_lattice;
  }
  __device__ __forceinline__ int output(int half, int dim, int phase) const {
    return output_of(lattice[half][dim], dim, phase);
  }
  __device__ __forceinline__ bool exists(int half, int phase) const {
    return output(half, 0, phase) < sizes.out[0] && output(half, 1, phase) < sizes.out[1] &&
           output(half, 2, phase) < sizes.out[2];
  }
  __device__ __forceinline__ int position(int half, int phase) const {
    return (output(half, 0, phase) * sizes.out[1] + output(half, 1, phase)) * sizes.out[2] + output(half, 2, phase);
  }
  // Of a turned warpgroup's places (implicit_sinks.cuh): the position, and whether there is one; whether all are there.
  __device__ __forceinline__ int place_output(int place, int dim) const {
    const int p = threadIdx.x / 128 * 64 + place / phases;
    const int inside = dim == 0   ? p / (L::tile_height * L::tile_width)
                       : dim == 1 ? p / L::tile_width % L::tile_height
                                  : p % L::tile_width;
    return output_of(tile.origin[dim] + inside, dim, dim == 2 ? place % phases : 0);
  }
  __device__ __forceinline__ Index number(int place) const {
    return static_cast<Index>((place_output(place, 0) * sizes.out[1] + place_output(place, 1)) * sizes.out[2] +
                              place_output(place, 2));
  }
  __device__ __forceinline__ bool has(int place) const {
    return place_output(place, 0) < sizes.out[0] && place_output(place, 1) < sizes.out[1] &&
           place_output(place, 2) < sizes.out[2];
  }
  __device__ __forceinline__ bool is_whole() const {
    return output_of(tile.origin[0] + L::tile_depth - 1, 0, 0) < sizes.out[0] &&
           output_of(tile.origin[1] + L::tile_height - 1, 1, 0) < sizes.out[1] &&
           output_of(tile.origin[2] + L::tile_width - 1, 2, phases - 1) < sizes.out[2];
  }

  // The channel of value (j, e), and the phase, of which there are one or more.
  static __device__ __forceinline__ int column(int j, int e) { return 8 * j + 2 * (threadIdx.x % 4) + e; }
  __device__ __forceinline__ int channel(int j, int e) const { return (tile.columns + column(j, e)) / phases; }
  __device__ __forceinline__ int phase(int j, int e) const { return (tile.columns + column(j, e)) % phases; }
};

template <class G, class L>
__device__ __forceinline__ void repair(float (&d)[L::columns / 2], const float* x, const float* weight,
                                       const ImplicitShare<G, L>& share) {
  float all = 0.0f;
#pragma unroll
  for (int i = 0; i < L::columns / 2; i++) all += d[i] * 0.0f;
  if (all == 0.0f) return;
#pragma unroll
  for (int i = 0; i < L::columns / 2; i++) {
    const int j = i / 4, half = i / 2 % 2, e = i % 2, phase = share.phase(j, e), channel = share.channel(j, e);
    if (isfinite(d[i]) || channel >= G::out || !share.exists(half, phase)) continue;
    d[i] = implicit_again<G>(x, weight, share.sizes, share.tile.sample, channel, share.output(half, 0, phase),
                             share.output(half, 1, phase), share.output(half, 2, phase));
  }
}

// `sink` takes what a thread has of each finished tile: sink(share, d, memory to turn it in, if Sink::turns).
template <class G, class L, int BLOCKS, class Sink>
__global__ void __launch_bounds__(L::threads, BLOCKS)
    implicit_convolution(const float* x, const float* packed, const float* weight, const Sink sink,
                         const __grid_constant__ ImplicitSizes sizes) {
  extern __shared__ __align__(128) unsigned char implicit_shared[];
  auto* const full = reinterpret_cast<unsigned long long*>(implicit_shared);
  float* weights = reinterpret_cast<float*>(implicit_shared + L::barrier_bytes);
  float* inputs = weights + L::weight_stages * L::weight_words;
  static_assert(L::stages <= 8, "a barrier a stage");

  if (L::has_zeros) {
    for (int at = threadIdx.x; at < L::stages * 4 * L::channel_stride; at += L::threads) {
      const int stage = at / (4 * L::channel_stride), inside = at % (4 * L::channel_stride);
      inputs[stage * L::input_words + L::chunk * L::channel_stride + inside] = 0.0f;
    }
  }
  if (threadIdx.x < L::weight_stages) barriers::prepare(full + threadIdx.x, 1);
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  __syncthreads();

  const long long own = blockIdx.x < sizes.count ? (sizes.count - 1 - blockIdx.x) / gridDim.x + 1 : 0;
  const long long all = own * L::chunks;
  const auto issue = [&](long long step) {
    if (step < all) {
      const int stage = static_cast<int>(step % L::stages), chunk = static_cast<int>(step % L::chunks);
      const ImplicitTile tile = implicit_tile<L>(sizes, blockIdx.x + step / L::chunks * gridDim.x);
      stage_input<G, L>(x, sizes, tile, chunk, inputs + stage * L::input_words);
      const int slot = L::resident ? 0 : stage;
      if (threadIdx.x == 0 && (!L::resident || step == 0)) {
        stage_weights<L>(packed, tile, chunk, weights + slot * L::weight_words, full + slot);
      }
    }
    end_copies();
  };

  const int p = ImplicitShare<G, L>::row(threadIdx.x, 0);
  const int d0 = p / (L::tile_height * L::tile_width), h0 = p / L::tile_width % L::tile_height, w0 = p % L::tile_width;
  const int place = (d0 * L::Taps::range(0, 0).step * L::halo_height + h0 * L::Taps::range(1, 0).step) * L::halo_width +
                    w0 * L::Taps::range(2, 0).step + threadIdx.x % 4 * L::channel_stride;
  float* const turned = inputs + L::stages * L::input_words + threadIdx.x / 128 * L::turned_words;
  constexpr int held = L::columns / 2;
  constexpr bool promotes = L::pieces == 2 && L::chunks > 1;
  float d[held], sums[promotes ? held : 1];
  for (int step = 0; step < L::stages - 1; step++) issue(step);
  long long step = 0;
#pragma unroll 1
  for (long long n = 0; n < own; n++) {
    const ImplicitTile tile = implicit_tile<L>(sizes, blockIdx.x + n * gridDim.x);
#pragma unroll
    for (int i = 0; i < held; i++) d[i] = 0.0f;
#pragma unroll 1
    for (int chunk = 0; chunk < L::chunks; chunk++, step++) {
      const int stage = static_cast<int>(step % L::stages);
      wait_groups<L::stages - 2>();
      __syncthreads();
      issue(step + L::stages - 1);
      if (!L::resident) {
        barriers::wait(full + stage, static_cast<uint32_t>(step / L::stages % 2));
      } else if (step == 0) {
        barriers::wait(full, 0);
      }
      const float* const b = weights + (L::resident ? 0 : stage) * L::weight_words;
      multiply_chunk<L>(d, inputs + stage * L::input_words + place, wgmma_descriptor(b), tile.of_class);
      if constexpr (promotes) {
#pragma unroll
        for (int i = 0; i < held; i++) sums[i] = chunk == 0 ? d[i] : sums[i] + d[i], d[i] = 0.0f;
      }
    }
    if constexpr (promotes) {
#pragma unroll
      for (int i = 0; i < held; i++) d[i] = sums[i];
    }
    const ImplicitShare<G, L> share(sizes, tile);
    repair<G, L>(d, x, weight, share);
    sink(share, d, turned);
  }
}

// x (samples, in channels, in[0], in[1], in[2]), weight as PyTorch's; the output (samples, out channels, out[0], ...) goes
// to `kept`, if that is given. `packed` is memory of packed_words floats.
struct ImplicitCall {
  const float* x;
  const float* weight;
  float* kept;
  long long samples, in[3], out[3];
  void* packed;
  long long packed_bytes;
};

template <class G, class S, class Sink>
int launch_implicit(const ImplicitCall& call, const Sink& sink, void* on) {
  const auto& in = call.in;
  const auto& out = call.out;
  const long long samples = call.samples;
  const auto stream = static_cast<cudaStream_t>(on);
  using L = ImplicitLayout<G, S>;
  if (call.packed_bytes < L::packed_words * 4) return cudaErrorInvalidValue;
  ImplicitSizes sizes{};
  sizes.samples = static_cast<int>(samples);
  long long in_positions = 1, positions = 1, count = samples;
  for (int dim = 0; dim < 3; dim++) {
    if (in[dim] > INT_MAX || out[dim] > INT_MAX) return cudaErrorInvalidConfiguration;
    sizes.in[dim] = static_cast<int>(in[dim]), sizes.out[dim] = static_cast<int>(out[dim]);
    in_positions *= in[dim], positions *= out[dim];
    const long long lattice = G::transposed ? ceil_div(out[dim], ImplicitTaps<G>::stride(dim)) : out[dim];
    sizes.tiles[dim] = static_cast<int>(ceil_div(lattice, L::tile(dim)));
    sizes.by_tiles[dim] = WideDivider(sizes.tiles[dim]);
    count *= sizes.tiles[dim];
  }
  if (in_positions > INT_MAX || positions > INT_MAX || samples > INT_MAX) return cudaErrorInvalidConfiguration;
  sizes.in_positions = static_cast<int>(in_positions), sizes.positions = static_cast<int>(positions);
  sizes.count = count * L::Taps::classes * L::column_tiles;
  sizes.by_columns = WideDivider(L::column_tiles), sizes.by_classes = WideDivider(L::Taps::classes);
  if (sizes.count == 0) return cudaSuccess;
  const long long words = L::packed_words / L::pieces;
  pack_implicit<G, L><<<static_cast<unsigned>(ceil_div(words, 256)), 256, 0, stream>>>(call.weight,
                                                                                     static_cast<uint32_t*>(call.packed));
  const auto kernel = implicit_convolution<G, L, S::blocks, Sink>;
  constexpr int shared_bytes = L::shared_bytes(Sink::turns);
  cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (error != cudaSuccess) {
    cudaGetLastError();  // it is reported here, and not by whoever asks next
    return error;
  }
  const long long room = resident_blocks(kernel, L::threads, shared_bytes);
  if (room == 0) return cudaErrorInvalidConfiguration;
  const long long blocks = sizes.count < room ? sizes.count : room;
  kernel<<<static_cast<unsigned>(blocks), L::threads, shared_bytes, stream>>>(
      call.x, static_cast<const float*>(call.packed), call.weight, sink, sizes);
  return cudaGetLastError();
}
