// Softmax of each row of x (rows, columns), on the CPU.
#include <cmath>

#include "core/parallel.hpp"

#ifndef GRAIN  // rows that a thread takes at a time
#define GRAIN 4
#endif
#ifndef THREADS
#define THREADS 2
#endif

extern "C" const char* tuner_error(int) { return "failed"; }

extern "C" int softmax(const float* x, float* out, long long rows, long long columns, void*) {
  parallel_for(rows, GRAIN, THREADS, [&](long long begin, long long end) {
    for (long long row = begin; row < end; row++) {
      const float* from = x + row * columns;
      float* to = out + row * columns;
      float largest = -INFINITY;
      for (long long i = 0; i < columns; i++) largest = from[i] > largest ? from[i] : largest;
      double sum = 0.0;
      for (long long i = 0; i < columns; i++) sum += to[i] = std::exp(from[i] - largest);
      for (long long i = 0; i < columns; i++) to[i] = static_cast<float>(to[i] / sum);
    }
  });
  return 0;
}
