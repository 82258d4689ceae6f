// What conv3d_wgmma.cuh keeps where in shared memory; compiles on a host alone.
#pragma once
#include "convolution/conv3d_layout.cuh"

template <int IN, int TAPS>
struct Walking {
  static constexpr bool SPLIT = SCHEME == SCHEME_FP16X3;
  // One part only, and an even kernel: a word holds the operands of kw and kw + 1, packed when the input is staged.
  static constexpr bool PAIRED = !SPLIT && TAPS % 2 == 0;
  static constexpr int PIECES = SPLIT ? 2 : 1;  // of the weights: high, low
  static constexpr int THREADS = 32 * WARPS, WARPGROUPS = WARPS / 4;
  static constexpr int CHANNELS = 8 * CHANNEL_TILES, N = TAPS * CHANNELS;
  static constexpr int K = TAPS * IN * TAPS;  // gathered for one input row: (kd, channel, kw), kw fastest
  static constexpr int STEPS = (K + 15) / 16;
  static constexpr int WORD_K = PAIRED ? 2 : 1;             // k that a gathered word holds
  static constexpr int QUADS = (K / WORD_K + 3) / 4;        // groups of four words that hold a real k
  static constexpr int BLOCKS = (2 * TAPS - 1) * CHANNEL_TILES;  // of eight columns of weights
  static constexpr int B_WORDS = BLOCKS * 64;                    // of one step and piece
  static_assert(WARPS % 4 == 0, "whole warpgroups");

  // Shared memory, in words of four bytes: weights, a scale a channel, a maximum a warp, moments, the box.
  static constexpr int SCALES_AT = PIECES * STEPS * B_WORDS;
  static constexpr int MAXIMA_AT = SCALES_AT + CHANNELS;
  static constexpr int MOMENTS_AT = MAXIMA_AT + WARPS;
  static constexpr int BOX_AT = MOMENTS_AT + WARPS * CHANNELS * 3 * 2;

  static long long shared_bytes(const Conv3d& c, int planes, int rows) {
    const long long image = image_pitch((rows + TAPS - 1) * c.w);
    return 4 * (BOX_AT + (planes + TAPS - 1) * IN * image + 32);
  }
};
