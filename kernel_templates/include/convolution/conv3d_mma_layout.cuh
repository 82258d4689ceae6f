// What conv3d_mma.cuh keeps where in shared memory; compiles on a host alone.
#pragma once
#include "convolution/conv3d_layout.cuh"

template <int IN, int TAPS>
struct Staged {
  static constexpr bool HALF = SCHEME == SCHEME_FP16X3 || SCHEME == SCHEME_FP16;
  static constexpr bool SPLIT = SCHEME == SCHEME_FP16X3 || SCHEME == SCHEME_TF32X3;
  static constexpr int THREADS = 32 * WARPS;
  static constexpr int CHANNELS = 8 * CHANNEL_TILES;  // a block
  static constexpr int K = TAPS * IN * TAPS;          // gathered for one input row: (kd, channel, kw), kw fastest
  static constexpr int QUADS = HALF ? 4 : 2;          // groups of four k in one mma
  static constexpr int STEPS = (K + 4 * QUADS - 1) / (4 * QUADS);
  // K-steps that are multiplied at a time: as many as are promoted together; unpromoted ones singly.
  static constexpr int GROUP = PROMOTE == 0 ? 1 : PROMOTE < STEPS ? PROMOTE : STEPS;
  static constexpr int COLUMNS = 16 * M_TILES;
  static constexpr int FRAGMENTS = TAPS * STEPS * CHANNEL_TILES;
  static constexpr int WORDS = SPLIT ? 4 : 2;  // of a fragment of weights, a lane: high b0, b1, then low

  // Shared memory, in words of four bytes: weights in fragment order, a scale a channel, a maximum a warp, the
  // moments of each warp and channel in doubles, then the box.
  static constexpr int SCALES_AT = FRAGMENTS * 32 * WORDS;
  static constexpr int MAXIMA_AT = SCALES_AT + CHANNELS;
  static constexpr int MOMENTS_AT = MAXIMA_AT + (WARPS + 3) / 4 * 4;
  static constexpr int BOX_AT = MOMENTS_AT + WARPS * CHANNELS * 3 * 2;

  static long long shared_bytes(const Conv3d& c, int planes, int rows) {
    const long long image = image_pitch((rows + TAPS - 1) * c.w);
    return 4 * (BOX_AT + (planes + TAPS - 1) * IN * image + COLUMNS + 16);
  }
};
