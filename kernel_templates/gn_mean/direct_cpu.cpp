// gn_mean on the CPU: a direct convolution with its statistics in registers; a bias moves the channels' means alone.
#ifndef VECTOR_WIDTH
#define VECTOR_WIDTH 16  // floats a vector
#endif
#ifndef POSITIONS
#define POSITIONS 2  // vectors of output positions a tile
#endif
#ifndef CHANNELS
#define CHANNELS 8  // output channels a tile
#endif
#ifndef PLANES
#define PLANES 16  // output planes a task
#endif
#ifndef TAPS
#define TAPS 3  // of a kernel's row, unrolled; 0: a loop over any number
#endif
#ifndef REPACK
#define REPACK 0  // copy a task's input first even where it can be read in place
#endif
#ifndef OUTER
#define OUTER_POSITIONS 0
#define OUTER_CHANNELS 1
#define OUTER OUTER_POSITIONS  // the outer loop over a plane's tiles
#endif

#include "convolution/direct_conv.hpp"
#include "families/group_norm_means.hpp"

extern "C" const char* tuner_error(int) { return "failed"; }

// x (n, in_channels, depth, height, width) with any strides; weight dense; out (n).
extern "C" int direct_conv(const float* x, const float* weight, const float* conv_bias, const float* norm_weight,
                           const float* norm_bias, float* out, long long n, long long in_channels, long long depth,
                           long long height, long long width, long long stride_n, long long stride_c,
                           long long stride_d, long long stride_h, long long stride_w, long long channels,
                           long long kernel_d, long long kernel_h, long long kernel_w, long long groups, double eps,
                           long long threads, void*) {
  const Conv conv{n, in_channels, {depth, height, width}, {stride_n, stride_c, stride_d, stride_h, stride_w},
                  channels, {kernel_d, kernel_h, kernel_w}};
  auto moments = channel_moments<Identity>(conv, x, weight, nullptr, static_cast<int>(threads));
  std::vector<double> result(channels);
  for (long long i = 0; i < n; i++) {
    for (long long c = 0; c < channels; c++) moments[i * channels + c].mean += conv_bias[c];
    group_norm_means(&moments[i * channels], channels, groups, norm_weight, norm_bias, eps, result.data());
    double total = 0.0;
    for (const double value : result) total += value;
    out[i] = static_cast<float>(total / channels);
  }
  return 0;
}
