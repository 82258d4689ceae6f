// GroupNorm of one sample, averaged over each channel's positions, from the channels' statistics alone.
#pragma once
#include <cmath>

#include "numerics/moments.cuh"

// moments[channels], all of the same number of positions: out[channels].
inline void group_norm_means(const Moments<double>* moments, long long channels, long long groups, const float* weight,
                             const float* bias, double eps, double* out) {
  const long long width = channels / groups;
  const double count = moments[0].count;
  for (long long first = 0; first < channels; first += width) {
    double mean = 0.0, m2 = 0.0;
    for (long long c = first; c < first + width; c++) mean += moments[c].mean;
    mean /= width;
    for (long long c = first; c < first + width; c++) {
      const double step = moments[c].mean - mean;
      m2 += moments[c].m2 + count * step * step;
    }
    const double rstd = 1.0 / std::sqrt(m2 / (count * width) + eps);
    for (long long c = first; c < first + width; c++) out[c] = weight[c] * (moments[c].mean - mean) * rstd + bias[c];
  }
}
