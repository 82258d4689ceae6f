// Convolution on tensor cores, bias and hardswish, whose output is never written; then GroupNorm and spatial mean.
//
// conv_mma(x, weight, bias, gamma, beta, out, moments, n, in, out, taps, d, h, w, tile_d, tile_h, groups, eps):
// x (n, in, d, h, w), weight (out, in, taps, taps, taps), bias (out) or null, out (n, out), moments (n, out, slots, 2)
// doubles as workspace.
#ifndef SCHEME
#define SCHEME_FP16X3 0
#define SCHEME_TF32X3 1
#define SCHEME_FP16 2
#define SCHEME_TF32 3
#define SCHEME SCHEME_FP16X3
#endif
#ifndef WARPS
#define WARPS 4
#endif
#ifndef M_TILES
#define M_TILES 2
#endif
#ifndef CHANNEL_TILES
#define CHANNEL_TILES 2
#endif
#ifndef ROW_CHUNKS
#define ROW_CHUNKS 4
#endif
#ifndef WEIGHTS
#define WEIGHTS_REGISTERS 0
#define WEIGHTS_SHARED 1
#define WEIGHTS WEIGHTS_SHARED
#endif
#ifndef PROMOTE
#define PROMOTE 1
#endif
#ifndef MIN_BLOCKS
#define MIN_BLOCKS 2
#endif
#include "conv3d_mma.cuh"

constexpr int FINISH_WARPS = 8;

// One block a sample. moments (n, out, slots); a row's first entry is replaced by the channel's {mean, m2}.
__global__ void __launch_bounds__(32 * FINISH_WARPS)
    finish(const Conv3d c, double2* moments, const float* gamma, const float* beta, float* out, int groups, double eps) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, per = c.out / groups;
  const double count = static_cast<double>(c.od) * c.oh * c.ow;
  double2* rows = moments + static_cast<long long>(blockIdx.x) * c.out * c.slots;
  for (int channel = warp; channel < c.out; channel += FINISH_WARPS) {
    double2* row = rows + static_cast<long long>(channel) * c.slots;
    const WideMoments all = merge_slots(c, row);
    if (lane == 0) row[0] = {all.mean, all.m2};
  }
  __syncthreads();
  for (int group = warp; group < groups; group += FINISH_WARPS) {
    const double2* first = rows + static_cast<long long>(group) * per * c.slots;
    double mean = 0.0, m2 = 0.0;
    for (int i = lane; i < per; i += 32) mean += first[static_cast<long long>(i) * c.slots].x;
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) mean += __shfl_xor_sync(~0u, mean, mask);
    mean /= per;
    for (int i = lane; i < per; i += 32) {
      const double2 channel = first[static_cast<long long>(i) * c.slots];
      m2 += channel.y + count * (channel.x - mean) * (channel.x - mean);
    }
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2) m2 += __shfl_xor_sync(~0u, m2, mask);
    const double rstd = 1.0 / sqrt(m2 / (count * per) + eps);
    for (int i = lane; i < per; i += 32) {
      const int channel = group * per + i;
      const double normed = (first[static_cast<long long>(i) * c.slots].x - mean) * rstd;
      out[static_cast<long long>(blockIdx.x) * c.out + channel] = static_cast<float>(gamma[channel] * normed + beta[channel]);
    }
  }
}

extern "C" int conv_mma(const float* x, const float* weight, const float* bias, const float* gamma, const float* beta,
                        float* out, double2* moments, long long n, long long in_channels, long long out_channels,
                        long long taps, long long d, long long h, long long w, long long tile_d, long long tile_h,
                        long long groups, double eps, void* stream) {
  const Conv3d c = conv3d(x, weight, bias, in_channels, out_channels, taps, d, h, w, tile_d, tile_h);
  const auto queue = static_cast<cudaStream_t>(stream);
  const cudaError_t error = launch_staged<3, 4, true>(c, n, moments, queue);
  if (error != cudaSuccess) return error;
  finish<<<static_cast<unsigned>(n), 32 * FINISH_WARPS, 0, queue>>>(c, moments, gamma, beta, out,
                                                                   static_cast<int>(groups), eps);
  return cudaGetLastError();
}
