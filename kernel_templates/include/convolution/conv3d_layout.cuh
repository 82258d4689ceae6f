// Sizes of a 3-D convolution (stride 1, no padding, cubic kernel) that is cut into slots and staged in shared memory.
// Compiles on a host alone, so that a test can hold what the templates' constraints say against it.
#pragma once
#include "core/portable.hpp"

struct Conv3d {
  const float *x, *weight, *bias;  // (n, in, d, h, w), (out, in, taps, taps, taps), (out) or null
  int in, out, taps;
  int d, h, w, od, oh, ow;     // input and output sizes
  int tile_d, tile_h, slots_h;  // a slot's output planes and rows; slots side by side along h
  int slots;                   // a sample
  int part_d, part_h;          // what of a slot is staged at a time
};

inline Conv3d conv3d(const float* x, const float* weight, const float* bias, long long in, long long out,
                     long long taps, long long d, long long h, long long w, long long tile_d, long long tile_h) {
  Conv3d c{x, weight, bias};
  c.in = static_cast<int>(in), c.out = static_cast<int>(out), c.taps = static_cast<int>(taps);
  c.d = static_cast<int>(d), c.h = static_cast<int>(h), c.w = static_cast<int>(w);
  c.od = c.d - c.taps + 1, c.oh = c.h - c.taps + 1, c.ow = c.w - c.taps + 1;
  c.tile_d = c.part_d = tile_d < c.od ? static_cast<int>(tile_d) : c.od;
  c.tile_h = c.part_h = tile_h < c.oh ? static_cast<int>(tile_h) : c.oh;
  c.slots_h = static_cast<int>(ceil_div(c.oh, c.tile_h));
  c.slots = static_cast<int>(ceil_div(c.od, c.tile_d)) * c.slots_h;
  return c;
}

// Words between the (plane, channel) images of the box: four lanes that read four successive k at eight successive
// columns then meet no bank twice, whether the k lie in one row of weights or in two.
TUNER_INLINE constexpr int image_pitch(int words) { return words + (48 - words % 32) % 32; }

// Makes a staged part as large as the slot, or as much of it as one block's shared memory takes.
// False when not even one row fits.
template <class S>
bool fit(Conv3d& c, long long shared_bytes) {
  while (S::shared_bytes(c, c.part_d, c.part_h) > shared_bytes) {
    if (c.part_d > 1) {
      c.part_d--;
    } else if (c.part_h > 1) {
      c.part_h--;
    } else {
      return false;
    }
  }
  return true;
}
