// A matrix of floats written as its transposed one on the CPU, 8 x 8 at a time in registers.
#pragma once
#include "core/simd.hpp"

// low: a0 b0 a1 b1 a4 b4 a5 b5; high: a2 b2 a3 b3 a6 b6 a7 b7, and likewise of pairs and of halves.
#if defined(__clang__)
#define TUNER_MIX(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define TUNER_MIX(a, b, ...) __builtin_shuffle(a, b, Places8{__VA_ARGS__})
#endif

typedef int Places8 __attribute__((vector_size(32)));

// to[c * to_stride + r] = from[r * from_stride + c] for r, c < 8.
inline void turn_8x8(const float* from, long long from_stride, float* to, long long to_stride) {
  Floats<8> v[8], w[8];
  for (int r = 0; r < 8; r++) v[r] = load<8>(from + r * from_stride);
  for (int r = 0; r < 8; r += 2) {
    w[r] = TUNER_MIX(v[r], v[r + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    w[r + 1] = TUNER_MIX(v[r], v[r + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  for (int r = 0; r < 8; r += 4) {
    for (int half = 0; half < 2; half++) {
      v[r + 2 * half] = TUNER_MIX(w[r + half], w[r + half + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      v[r + 2 * half + 1] = TUNER_MIX(w[r + half], w[r + half + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int c = 0; c < 4; c++) {
    store<8>(to + c * to_stride, TUNER_MIX(v[c], v[c + 4], 0, 1, 2, 3, 8, 9, 10, 11));
    store<8>(to + (c + 4) * to_stride, TUNER_MIX(v[c], v[c + 4], 4, 5, 6, 7, 12, 13, 14, 15));
  }
}

// to[c * to_stride + r] = from[r * from_stride + c] for r < rows, c < columns.
inline void turn(const float* from, long long from_stride, float* to, long long to_stride, int rows, int columns) {
  int r = 0;
  for (; r + 8 <= rows; r += 8) {
    int c = 0;
    for (; c + 8 <= columns; c += 8) {
      turn_8x8(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
    }
    for (; c < columns; c++) {
      for (int j = 0; j < 8; j++) to[c * to_stride + r + j] = from[(r + j) * from_stride + c];
    }
  }
  for (; r < rows; r++) {
    for (int c = 0; c < columns; c++) to[c * to_stride + r] = from[r * from_stride + c];
  }
}

inline void turn(const double* from, long long from_stride, double* to, long long to_stride, int rows, int columns) {
  for (int r = 0; r < rows; r++) {
    for (int c = 0; c < columns; c++) to[c * to_stride + r] = from[r * from_stride + c];
  }
}
