// A convolution as a product of matrices that are never written: rows are output positions, columns are output channels,
// and k goes over the taps of the kernel and the input channels. What is known before it is compiled.
//
// Geometry, of one group of channels (depth, height, width; ones ahead of a convolution of fewer dimensions):
//   in, out (channels), kernel[3], stride[3], padding[3], dilation[3], transposed
//
// A transposed convolution of stride s gathers, too: outputs o = s * j + residue take the taps k0, k0 + s, ... of the
// kernel, k0 = (residue + padding) % s, from inputs that lie side by side. A class is a residue of depth and height; the
// residues of width (phases) are columns beside each other, channel by channel, with zeros for the taps of the others.
#pragma once
#include <climits>

#include "core/portable.hpp"

TUNER_INLINE constexpr int largest(int a, int b) { return a > b ? a : b; }
TUNER_INLINE constexpr int smallest(int a, int b) { return a < b ? a : b; }

// One dimension: outputs j = 0, 1, ... of a class take taps 0 .. taps - 1, the first from input j * step + first, the next
// one `apart` further on.
struct TapRange {
  int taps, first, apart, step;
};

template <class Geometry>
struct ImplicitTaps {
  using G = Geometry;
  // Device code reads no array of constants at a place that it does not know.
  static constexpr int kernel_0 = G::kernel[0], kernel_1 = G::kernel[1], kernel_2 = G::kernel[2];
  static constexpr int stride_0 = G::stride[0], stride_1 = G::stride[1], stride_2 = G::stride[2];
  static constexpr int padding_0 = G::padding[0], padding_1 = G::padding[1], padding_2 = G::padding[2];
  static constexpr int dilation_0 = G::dilation[0], dilation_1 = G::dilation[1], dilation_2 = G::dilation[2];
  static constexpr int phases = G::transposed ? stride_2 : 1;
  static constexpr int classes = G::transposed ? stride_0 * stride_1 : 1;
  static_assert(phases <= 2, "a thread's neighbouring columns are the phases of one channel");
  static TUNER_INLINE constexpr int kernel(int dim) { return dim == 0 ? kernel_0 : dim == 1 ? kernel_1 : kernel_2; }
  static TUNER_INLINE constexpr int stride(int dim) { return dim == 0 ? stride_0 : dim == 1 ? stride_1 : stride_2; }
  static TUNER_INLINE constexpr int padding(int dim) { return dim == 0 ? padding_0 : dim == 1 ? padding_1 : padding_2; }
  static TUNER_INLINE constexpr int dilation(int dim) { return dim == 0 ? dilation_0 : dim == 1 ? dilation_1 : dilation_2; }

  static TUNER_INLINE constexpr int first_tap(int dim, int residue) { return (residue + padding(dim)) % stride(dim); }
  static TUNER_INLINE constexpr int count(int dim, int residue) {
    return kernel(dim) > first_tap(dim, residue) ? (kernel(dim) - 1 - first_tap(dim, residue)) / stride(dim) + 1
                                                    : 0;
  }
  // The input that the first tap of an output s * 0 + residue meets; later taps lie before it.
  static TUNER_INLINE constexpr int last_input(int dim, int residue) {
    return (residue + padding(dim) - first_tap(dim, residue)) / stride(dim);
  }

  static TUNER_INLINE constexpr TapRange range(int dim, int of_class) {
    if (!G::transposed) return {kernel(dim), -padding(dim), dilation(dim), stride(dim)};
    if (stride(dim) == 1) {
      return {kernel(dim), padding(dim) - (kernel(dim) - 1) * dilation(dim), dilation(dim), 1};
    }
    if (dim < 2) {
      const int residue = dim == 0 ? of_class / stride_1 : of_class % stride_1;
      return {count(dim, residue), last_input(dim, residue) - count(dim, residue) + 1, 1, 1};
    }
    int first = INT_MAX, last = INT_MIN;
    for (int residue = 0; residue < phases; residue++) {
      if (count(2, residue) == 0) continue;
      first = smallest(first, last_input(2, residue) - count(2, residue) + 1);
      last = largest(last, last_input(2, residue));
    }
    return {last - first + 1, first, 1, 1};
  }

  // The tap of the kernel that a class's tap is, for a phase; -1: none.
  static TUNER_INLINE constexpr int kernel_tap(int dim, int of_class, int phase, int tap) {
    if (!G::transposed) return tap;
    if (stride(dim) == 1) return kernel(dim) - 1 - tap;
    const int residue = dim == 0 ? of_class / stride_1 : dim == 1 ? of_class % stride_1 : phase;
    const int back = last_input(dim, residue) - range(dim, of_class).first - tap;
    return back < 0 || back >= count(dim, residue) ? -1 : first_tap(dim, residue) + back * stride(dim);
  }

  static TUNER_INLINE constexpr int most(int dim) {  // taps of a dimension, of any class
    int found = 0;
    for (int c = 0; c < classes; c++) found = largest(found, range(dim, c).taps);
    return found;
  }
};

// Schedule:
//   warpgroups        of a block; each multiplies 64 positions
//   tile_depth, tile_width   of a block's positions; the rest is its height
//   columns           of a block, channels and phases: 8, 16, 24, 32, 48, 64, 96 or 128
//   chunk             input channels staged at once: 4, or a multiple of 8
//   stages            of the pipeline from memory: 2 or more
//   blocks            a multiprocessor that registers are to leave room for
//   vector_width      outputs that a thread writes at once, where sizes and addresses allow that: 1, 2 or 4
//   pieces            1: TF32; 2: three products of values in two pieces of TF32 each, near fp32
template <class Geometry, class Schedule>
struct ImplicitLayout {
  using G = Geometry;
  using S = Schedule;
  using Taps = ImplicitTaps<G>;
  static constexpr int threads = 128 * S::warpgroups, positions = 64 * S::warpgroups, columns = S::columns;
  static constexpr int pieces = S::pieces, chunk = S::chunk, stages = S::stages;
  static constexpr int tile_depth = S::tile_depth, tile_width = S::tile_width;
  static constexpr int tile_height = positions / (tile_depth * tile_width);
  static_assert(tile_depth * tile_height * tile_width == positions, "a block's positions are a box");
  static TUNER_INLINE constexpr int tile(int dim) { return dim == 0 ? tile_depth : dim == 1 ? tile_height : tile_width; }
  static_assert(chunk == 4 || chunk % 8 == 0, "a step has two times four channels, or taps");
  static constexpr int all_columns = G::out * Taps::phases;
  static constexpr int column_tiles = (all_columns + columns - 1) / columns;
  static constexpr int chunks = (G::in + chunk - 1) / chunk;

  static TUNER_INLINE constexpr int halo(int dim) {  // inputs of a tile along a dimension
    const TapRange of = Taps::range(dim, 0);
    return (tile(dim) - 1) * of.step + (Taps::most(dim) - 1) * of.apart + 1;
  }
  static constexpr int halo_height = halo(1), halo_width = (halo(2) + 1) / 2 * 2;  // pairs are read
  static constexpr int plane = halo_height * halo_width, box = halo(0) * plane;
  // Channels lie 8 banks apart: four of them and eight positions side by side meet all banks.
  static constexpr int channel_stride = (box + 23) / 32 * 32 + 8;
  static_assert(channel_stride >= box, "room for the box");
  static constexpr bool has_zeros = chunk == 4;  // four channels of zeros, where an odd number of lines ends

  // Lines of a class are its rows of taps, and within a row the chunk's channels by four. Two lines make as many steps as
  // a row has taps: a step's k are a tap of each.
  static TUNER_INLINE constexpr int rows(int of_class) { return Taps::range(0, of_class).taps * Taps::range(1, of_class).taps; }
  static TUNER_INLINE constexpr int pairs(int of_class) { return (rows(of_class) * (chunk / 4) + 1) / 2; }
  static TUNER_INLINE constexpr int across(int of_class) { return Taps::range(2, of_class).taps; }
  static TUNER_INLINE constexpr int steps(int of_class) { return pairs(of_class) * across(of_class); }
  static TUNER_INLINE constexpr int most_steps_of() {
    int found = 0;
    for (int c = 0; c < Taps::classes; c++) found = largest(found, steps(c));
    return found;
  }
  static constexpr int most_steps = most_steps_of();
  static constexpr int step_words = columns * 8;  // of the weights of a step, a piece
  static constexpr int weight_words = most_steps * pieces * step_words;
  static constexpr int input_words = (chunk + (has_zeros ? 4 : 0)) * channel_stride;
  // One set of weights for all tiles: fetched once.
  static constexpr bool resident = chunks == 1 && Taps::classes == 1 && column_tiles == 1;
  static constexpr int weight_stages = resident ? 1 : stages;

  // Where a line's operands begin in the staged input.
  static TUNER_INLINE constexpr int line_place(int of_class, int line) {
    const int row = line / (chunk / 4), down = Taps::range(1, of_class).taps;
    if (row >= rows(of_class)) return chunk * channel_stride;  // zeros
    return row / down * Taps::range(0, 0).apart * plane + row % down * Taps::range(1, 0).apart * halo_width +
           line % (chunk / 4) * 4 * channel_stride;
  }
  // Inputs side by side that a thread's two positions need of a line.
  static TUNER_INLINE constexpr int span(int of_class) {
    return Taps::range(2, 0).step + (across(of_class) - 1) * Taps::range(2, 0).apart + 1;
  }

  // A finished tile goes to memory through shared memory, the channels of 32 columns at a time, so that neighbours write
  // side by side.
  static constexpr int turned_columns = columns % 32 == 0 ? 32 : columns % 24 == 0 ? 24 : smallest(columns, 16);
  static constexpr int turned_channels = turned_columns / Taps::phases, turned_positions = 64 * Taps::phases;
  static constexpr int turned_stride = turned_positions + (Taps::phases == 1 ? 4 : 16);  // in other banks
  static constexpr int turned_words = turned_channels * turned_stride;                   // a warpgroup
  static constexpr int vector = smallest(S::vector_width, tile_width * Taps::phases);

  static constexpr int barrier_bytes = 128;
  static constexpr int staged_bytes = barrier_bytes + (weight_stages * weight_words + stages * input_words) * 4;
  static constexpr int shared_bytes(bool turns) { return staged_bytes + (turns ? S::warpgroups * turned_words * 4 : 0); }

  // Words of the packed weights ahead of those of a class: they are sorted by class, tile of columns and chunk.
  static TUNER_INLINE constexpr long long class_start(int of_class) {
    long long words = 0;
    for (int c = 0; c < of_class; c++) words += static_cast<long long>(steps(c)) * pieces * step_words;
    return words * column_tiles * chunks;
  }
  static constexpr long long packed_words = class_start(Taps::classes);
};
