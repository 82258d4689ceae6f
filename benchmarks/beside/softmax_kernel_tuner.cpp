// Softmax of each row of x (rows, columns), on the CPU: returns milliseconds.
#include <chrono>
#include <cmath>
#include <thread>
#include <vector>

#ifndef GRAIN  // rows that a thread takes at a time
#define GRAIN 4
#endif
#ifndef THREADS
#define THREADS 2
#endif

extern "C" float softmax(const float* x, float* out, int rows, int columns) {
  const auto began = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (int t = 0; t < THREADS; t++)
    threads.emplace_back([=] {
      for (int first = t * GRAIN; first < rows; first += THREADS * GRAIN)
        for (int row = first; row < rows && row < first + GRAIN; row++) {
          const float* from = x + row * columns;
          float* to = out + row * columns;
          float largest = -INFINITY;
          for (int i = 0; i < columns; i++) largest = from[i] > largest ? from[i] : largest;
          double sum = 0.0;
          for (int i = 0; i < columns; i++) sum += to[i] = std::exp(from[i] - largest);
          for (int i = 0; i < columns; i++) to[i] = static_cast<float>(to[i] / sum);
        }
    });
  for (auto& thread : threads) thread.join();
  return std::chrono::duration<float, std::milli>(std::chrono::steady_clock::now() - began).count();
}
