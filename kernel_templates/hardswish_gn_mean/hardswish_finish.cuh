// GroupNorm and the spatial mean, from the moments of what is normalised.
#pragma once
#include "convolution/conv3d_moments.cuh"

constexpr int FINISH_WARPS = 8;

// One block a sample; may start over the end of the kernel that fills `moments` (n, out, slots). A row's first entry is
// replaced by the channel's {mean, m2}.
__global__ void __launch_bounds__(32 * FINISH_WARPS)
    hardswish_finish(const Conv3d c, double2* moments, const float* gamma, const float* beta, float* out, int groups,
                     double eps) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, per = c.out / groups;
  const double count = static_cast<double>(c.od) * c.oh * c.ow;
  wait_for_previous();
  double2* rows = moments + static_cast<long long>(blockIdx.x) * c.out * c.slots;
  merge_rows<32 * FINISH_WARPS>(c, rows, nullptr);  // the bias is in it already
  for (int group = warp; group < groups; group += FINISH_WARPS) {
    const double2* first = rows + static_cast<long long>(group) * per * c.slots;
    double mean = 0.0, m2 = 0.0;
    for (int i = lane; i < per; i += 32) mean += first[static_cast<long long>(i) * c.slots].x;
    mean = warp_reduce(mean, Sum{}) / per;
    for (int i = lane; i < per; i += 32) {
      const double2 channel = first[static_cast<long long>(i) * c.slots];
      m2 += channel.y + count * (channel.x - mean) * (channel.x - mean);
    }
    m2 = warp_reduce(m2, Sum{});
    const double rstd = 1.0 / sqrt(m2 / (count * per) + eps);
    for (int i = lane; i < per; i += 32) {
      const int channel = group * per + i;
      const double normed = (first[static_cast<long long>(i) * c.slots].x - mean) * rstd;
      out[blockIdx.x * static_cast<long long>(c.out) + channel] =
          static_cast<float>(gamma[channel] * normed + beta[channel]);
    }
  }
}

inline cudaError_t finish_hardswish(const Conv3d& c, long long n, double2* moments, const float* gamma,
                                    const float* beta, float* out, long long groups, double eps, cudaStream_t stream) {
  return launch_next(true, hardswish_finish, static_cast<unsigned>(n), 32 * FINISH_WARPS, stream, c, moments, gamma,
                     beta, out, static_cast<int>(groups), eps);
}
