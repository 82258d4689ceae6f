// run(y, out, n, c, s): {mean, m2} of every channel of every sample of relu(y) (n, c, s).
#define VECTOR_WIDTH 8
#define ACCUMULATORS 2
#define GRAIN 1
#define THREADS 2
#define MEMORY_FORMAT_CONTIGUOUS 0
#define MEMORY_FORMAT_CHANNELS_LAST 1
#define MEMORY_FORMAT MEMORY_FORMAT_CONTIGUOUS
#include "families/channel_sums.hpp"

extern "C" const char* tuner_error(int) { return "failed"; }

struct Positive {
  template <class Y, class B>
  static Y map(Y y, B) {
    return activated<Relu>(y);
  }
  static double late(double) { return 0.0; }
};

extern "C" int run(const float* y, double* out, long long n, long long c, long long s, void*) {
  const auto moments = channel_moments<Positive>({y, nullptr, n, c, s});
  for (long long i = 0; i < n * c; i++) out[2 * i] = moments[i].mean, out[2 * i + 1] = moments[i].m2;
  return 0;
}
