// What conv3d_simt.cuh keeps where in shared memory; compiles on a host alone.
#pragma once
#include "convolution/conv3d_layout.cuh"

template <int TAPS>
struct Plain {
  static constexpr int THREADS = 32 * WARPS;
  static constexpr int CHANNELS = 8 * CHANNEL_TILES;
  static constexpr int SLICE = TAPS * TAPS * CHANNELS;  // weights of one (kd, channel), as [kw][kh][output channel]

  // Shared memory, in words of four bytes: weights, moments of each warp and channel, the box.
  static TUNER_INLINE int moments_at(const Conv3d& c) { return TAPS * c.in * SLICE; }
  static TUNER_INLINE int box_at(const Conv3d& c) { return moments_at(c) + WARPS * CHANNELS * 3 * 2; }

  static long long shared_bytes(const Conv3d& c, int planes, int rows) {
    const long long image = image_pitch((rows + TAPS - 1) * c.w), weights = 1LL * TAPS * c.in * SLICE;
    return 4 * (weights + WARPS * CHANNELS * 6 + (planes + TAPS - 1) * c.in * image + 32);
  }
};
