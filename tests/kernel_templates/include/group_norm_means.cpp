// run(x, weight, bias, out, channels, positions, groups): GroupNorm of x (channels, positions), averaged over positions.
#include "families/group_norm_means.hpp"

#include <vector>

extern "C" const char* tuner_error(int) { return "failed"; }

extern "C" int run(const float* x, const float* weight, const float* bias, double* out, long long channels,
                   long long positions, long long groups, void*) {
  std::vector<Moments<double>> moments(channels);
  for (long long c = 0; c < channels; c++) {
    for (long long i = 0; i < positions; i++) moments[c] = merge(moments[c], {1.0, x[c * positions + i], 0.0});
  }
  group_norm_means(moments.data(), channels, groups, weight, bias, 1e-5, out);
  return 0;
}
