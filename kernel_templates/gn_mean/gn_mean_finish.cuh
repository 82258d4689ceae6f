// GroupNorm and the mean over all but the batch, from the convolution's moments (without its bias).
#pragma once
#include "convolution/conv3d_moments.cuh"

constexpr int FINISH_THREADS = 256;

// One block a sample; may start over the end of the kernel that fills `moments` (n, out, slots). A row's first entry is
// replaced by the channel's {mean, m2}.
__global__ void __launch_bounds__(FINISH_THREADS)
    gn_mean_finish(const Conv3d c, double2* moments, const float* gamma, const float* beta, float* out, int groups,
                   double eps) {
  __shared__ double totals[FINISH_THREADS / 32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, per = c.out / groups;
  const double count = static_cast<double>(c.od) * c.oh * c.ow;
  wait_for_previous();
  double2* rows = moments + static_cast<long long>(blockIdx.x) * c.out * c.slots;
  merge_rows<FINISH_THREADS>(c, rows, c.bias);
  double total = 0.0;
  for (int group = warp; group < groups; group += FINISH_THREADS / 32) {
    const long long first = static_cast<long long>(group) * per;
    double mean = 0.0, m2 = 0.0, sum = 0.0;
    for (int i = lane; i < per; i += 32) mean += rows[(first + i) * c.slots].x;
    mean = warp_reduce(mean, Sum{}) / per;
    for (int i = lane; i < per; i += 32) {
      const double2 channel = rows[(first + i) * c.slots];
      const double step = channel.x - mean;
      m2 += channel.y + count * step * step;
      sum += gamma[first + i] * step;
      total += beta[first + i];
    }
    m2 = warp_reduce(m2, Sum{});
    total += sum / sqrt(m2 / (count * per) + eps);
  }
  total = warp_reduce(total, Sum{});
  if (lane == 0) totals[warp] = total;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int i = 1; i < FINISH_THREADS / 32; i++) total += totals[i];
    out[blockIdx.x] = static_cast<float>(total / c.out);
  }
}

inline cudaError_t finish_gn_mean(const Conv3d& c, long long n, double2* moments, const float* gamma, const float* beta,
                                  float* out, long long groups, double eps, cudaStream_t stream) {
  return launch_next(true, gn_mean_finish, static_cast<unsigned>(n), FINISH_THREADS, stream, c, moments, gamma, beta,
                     out, static_cast<int>(groups), eps);
}
