// Convolution by Hopper's warpgroup products, bias and hardswish, whose output is never written; then GroupNorm and
// spatial mean.
//
// conv3d_group_norm(x, weight, bias, gamma, beta, out, moments, n, in, out, taps, d, h, w, tile_d, tile_h, groups, eps):
// x (n, in, d, h, w), weight (out, in, taps, taps, taps), bias (out) or null, out (n, out), moments (n, out, slots, 2)
// doubles as workspace.
#ifndef SCHEME
#define SCHEME_FP16X3 0
#define SCHEME_FP16 1
#define SCHEME SCHEME_FP16X3
#endif
#ifndef WARPS
#define WARPS 4
#endif
#ifndef ROW_CHUNKS
#define ROW_CHUNKS 1
#endif
#ifndef MIN_BLOCKS
#define MIN_BLOCKS 3
#endif
#ifndef SUMS
#define SUMS_TOGETHER 0
#define SUMS_CROSS_APART 1
#define SUMS_ROWS 2
#define SUMS SUMS_ROWS
#endif
#define CHANNEL_TILES 2
#include "convolution/conv3d_wgmma.cuh"
#include "hardswish_finish.cuh"

extern "C" int conv3d_group_norm(const float* x, const float* weight, const float* bias, const float* gamma,
                                 const float* beta, float* out, double2* moments, long long n, long long in_channels,
                                 long long out_channels, long long taps, long long d, long long h, long long w,
                                 long long tile_d, long long tile_h, long long groups, double eps, void* stream) {
  const Conv3d c = conv3d(x, weight, bias, in_channels, out_channels, taps, d, h, w, tile_d, tile_h);
  const auto queue = static_cast<cudaStream_t>(stream);
  const cudaError_t error = launch_walking<3, 4, Hardswish>(c, n, moments, queue);
  return error != cudaSuccess ? error : finish_hardswish(c, n, moments, gamma, beta, out, groups, eps, queue);
}
