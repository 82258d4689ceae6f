// Vectors of floats by GCC's vector extension (clang has it too): + - * / work on them lane by lane.
// A width beyond the machine's registers is split by the compiler, so every width runs everywhere.
#pragma once
#include <cstring>

template <int V>
struct FloatsOf {
  static_assert(V > 0 && (V & (V - 1)) == 0, "a power of two");
  typedef float type __attribute__((vector_size(4 * V)));
};

template <int V>
using Floats = typename FloatsOf<V>::type;

// At any address.
template <int V>
inline Floats<V> load(const float* p) {
  Floats<V> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <int V>
inline void store(float* p, Floats<V> v) {
  std::memcpy(p, &v, sizeof v);
}

template <int V>
inline Floats<V> broadcast(float x) {
  return x - Floats<V>{};  // x - 0 is x, signed zero included
}

// Sum of the accumulators pairwise in float, then of their lanes in double; a fixed order. Overwrites them.
template <int V, int A>
inline double sum_lanes(Floats<V> (&accumulators)[A]) {
  static_assert((A & (A - 1)) == 0, "a power of two");
  for (int half = A / 2; half > 0; half /= 2) {
    for (int a = 0; a < half; a++) accumulators[a] += accumulators[a + half];
  }
  double sum = 0.0;
  for (int lane = 0; lane < V; lane++) sum += accumulators[0][lane];
  return sum;
}
