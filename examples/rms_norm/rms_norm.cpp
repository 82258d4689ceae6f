// RMSNorm of each row of x (rows, size), on the CPU.
#include <cmath>

#include "core/parallel.hpp"

#ifndef SUMS  // that run beside each other
#define SUMS 4
#endif
#ifndef THREADS
#define THREADS 2
#endif

extern "C" const char* tuner_error(int) { return "failed"; }

extern "C" int rms_norm(const float* x, const float* weight, float* out, long long rows, long long size, double eps,
                        void*) {
  parallel_for(rows, 4, THREADS, [&](long long begin, long long end) {
    for (long long row = begin; row < end; row++) {
      const float* from = x + row * size;
      float* to = out + row * size;
      double sums[SUMS] = {}, sum = 0.0;
      long long i = 0;
      for (; i + SUMS <= size; i += SUMS)
        for (int j = 0; j < SUMS; j++) sums[j] += double(from[i + j]) * from[i + j];
      for (; i < size; i++) sum += double(from[i]) * from[i];
      for (int j = 0; j < SUMS; j++) sum += sums[j];
      const float scale = float(1.0 / std::sqrt(sum / size + eps));
      for (i = 0; i < size; i++) to[i] = from[i] * scale * weight[i];
    }
  });
  return 0;
}
