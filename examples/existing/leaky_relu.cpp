// Leaky ReLU of n numbers, as somebody had it: no word of tuner in it.
#include <thread>
#include <vector>

#ifndef THREADS
#define THREADS 2
#endif
#ifndef PREFER_SELECT  // a choice of values instead of a branch
#define PREFER_SELECT 1
#endif

static void leaky_relu_part(const float* x, float* out, long long begin, long long end, float slope) {
  for (long long i = begin; i < end; i++) {
    if (PREFER_SELECT) {
      out[i] = x[i] * (x[i] > 0 ? 1.0f : slope);
    } else {
      out[i] = x[i];
      if (!(x[i] > 0)) out[i] *= slope;
    }
  }
}

extern "C" int leaky_relu(const float* x, float* out, long long n, float slope) {
  std::vector<std::thread> threads;
  for (long long i = 1; i < THREADS; i++)
    threads.emplace_back(leaky_relu_part, x, out, n * i / THREADS, n * (i + 1) / THREADS, slope);
  leaky_relu_part(x, out, 0, n / THREADS, slope);
  for (std::thread& thread : threads) thread.join();
  return 0;
}
