// Blocks of elements as floats and back on the CPU; stores that go past the caches.
#pragma once
#include "core/vectorised.hpp"  // ahead of all others

#include <cstdint>
#include <cstring>

#include "numerics/element.hpp"
#if defined(__AVX__)
#include <immintrin.h>
#endif

// `count` elements from `from` on, as Reals: themselves where they are Reals, else in `room`.
inline const float* floats_of(const float* from, float*, int) { return from; }
inline const double* floats_of(const double* from, double*, int) { return from; }

inline const float* floats_of(const bfloat16* from, float* room, int count) {
  for (int j = 0; j < count; j++) room[j] = to_float(from[j]);
  return room;
}

inline const float* floats_of(const half* from, float* room, int count) {
  int j = 0;
#if defined(__F16C__)
  for (; j + 8 <= count; j += 8) {
    _mm256_storeu_ps(room + j, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + j))));
  }
#endif
  for (; j < count; j++) room[j] = to_float(from[j]);
  return room;
}

template <class T>
inline void store_floats(const T* from, T* to, int count) {
  std::memcpy(to, from, sizeof(T) * count);
}

inline void store_floats(const float* from, bfloat16* to, int count) {
  for (int j = 0; j < count; j++) to[j] = from_float<bfloat16>(from[j]);
}

inline void store_floats(const float* from, half* to, int count) {
  int j = 0;
#if defined(__F16C__)
  for (; j + 8 <= count; j += 8) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + j), _mm256_cvtps_ph(_mm256_loadu_ps(from + j), 0));
  }
#endif
  for (; j < count; j++) to[j] = from_float<half>(from[j]);
}

// `bytes` bytes, the whole vectors among them past the caches. Whoever reads them on another thread needs past_caches()
// before on this one.
inline void stream_bytes(const void* from, void* to, long long bytes) {
  const auto source = static_cast<const char*>(from);
  const auto target = static_cast<char*>(to);
  long long at = 0;
#if defined(__AVX__)
  const long long ahead = -reinterpret_cast<std::intptr_t>(to) & 31;
  if (ahead < bytes) {
    std::memcpy(target, source, ahead);
    for (at = ahead; at + 32 <= bytes; at += 32) {
      const __m256i vector = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + at));
      _mm256_stream_si256(reinterpret_cast<__m256i*>(target + at), vector);
    }
  }
#endif
  std::memcpy(target + at, source + at, bytes - at);
}

inline void past_caches() {
#if defined(__AVX__)
  _mm_sfence();
#endif
}

template <bool ONCE>
inline void store_block(const Real* from, Element* to, int count) {
  if constexpr (!ONCE) {
    store_floats(from, to, count);
  } else if constexpr (sizeof(Element) == sizeof(Real)) {
    stream_bytes(from, to, static_cast<long long>(sizeof(Real)) * count);
  } else {
    Element short_ones[256];
    for (int begin = 0; begin < count; begin += 256) {
      const int n = count - begin < 256 ? count - begin : 256;
      store_floats(from + begin, short_ones, n);
      stream_bytes(short_ones, to + begin, static_cast<long long>(sizeof(Element)) * n);
    }
  }
}
