// Convolution in plain fp32 whose output is never written, then GroupNorm and the mean of each sample.
//
// conv3d_group_norm(x, weight, bias, gamma, beta, out, moments, n, in, out, taps, d, h, w, tile_d, tile_h, groups, eps):
// x (n, in, d, h, w), weight (out, in, taps, taps, taps), out (n,), moments (n, out, slots, 2) doubles as workspace.
#ifndef WARPS
#define WARPS 4
#endif
#ifndef PLANES
#define PLANES 4
#endif
#ifndef LANE_CHANNELS
#define LANE_CHANNELS 8
#endif
#ifndef ROW_CHUNKS
#define ROW_CHUNKS 4
#endif
#ifndef MIN_BLOCKS
#define MIN_BLOCKS 2
#endif
#define CHANNEL_TILES 3
#include "convolution/conv3d_simt.cuh"
#include "gn_mean_finish.cuh"

extern "C" int conv3d_group_norm(const float* x, const float* weight, const float* bias, const float* gamma,
                                 const float* beta, float* out, double2* moments, long long n, long long in_channels,
                                 long long out_channels, long long taps, long long d, long long h, long long w,
                                 long long tile_d, long long tile_h, long long groups, double eps, void* stream) {
  const Conv3d c = conv3d(x, weight, bias, in_channels, out_channels, taps, d, h, w, tile_d, tile_h);
  const auto queue = static_cast<cudaStream_t>(stream);
  const cudaError_t error = launch_plain<3, Identity>(c, n, moments, queue);
  return error != cudaSuccess ? error : finish_gn_mean(c, n, moments, gamma, beta, out, groups, eps, queue);
}
