// Loads and stores of several elements of any type: one instruction for up to 16 bytes, several for more.
#pragma once
#include <cstdint>
#include <cstring>

#include "core/portable.hpp"

// Bytes that an address of V elements has to be a multiple of.
template <class T, int V>
TUNER_INLINE constexpr int pack_bytes() {
  return static_cast<int>(sizeof(T)) * V < 16 ? static_cast<int>(sizeof(T)) * V : 16;
}

// V elements that move together; V is a power of two.
template <class T, int V>
struct alignas(pack_bytes<T, V>()) Pack {
  static_assert((V & (V - 1)) == 0, "a power of two");
  T at[V];
};

template <class T, int V>
inline bool is_aligned(const T* p) {
  return reinterpret_cast<std::uintptr_t>(p) % pack_bytes<T, V>() == 0;
}

template <int BYTES>
struct WordOf;
template <>
struct WordOf<16> {
  using Type = uint4;
};
template <>
struct WordOf<8> {
  using Type = uint2;
};
template <>
struct WordOf<4> {
  using Type = unsigned;
};
template <>
struct WordOf<2> {
  using Type = unsigned short;
};
template <>
struct WordOf<1> {
  using Type = unsigned char;
};

// ONCE: what is read or written is not needed again, and is the first to leave the caches.
template <int V, bool ONCE = false, class T>
__device__ __forceinline__ Pack<T, V> load_pack(const T* p) {
  using Word = typename WordOf<pack_bytes<T, V>()>::Type;
  constexpr int words = static_cast<int>(sizeof(Pack<T, V>) / sizeof(Word));
  const Word* from = reinterpret_cast<const Word*>(p);
  Word moved[words];
  TUNER_UNROLL
  for (int w = 0; w < words; w++) moved[w] = ONCE ? __ldcs(from + w) : from[w];
  Pack<T, V> pack;
  memcpy(&pack, moved, sizeof(pack));
  return pack;
}

template <int V, bool ONCE = false, class T>
__device__ __forceinline__ void store_pack(T* p, const Pack<T, V>& pack) {
  using Word = typename WordOf<pack_bytes<T, V>()>::Type;
  constexpr int words = static_cast<int>(sizeof(Pack<T, V>) / sizeof(Word));
  Word moved[words];
  memcpy(moved, &pack, sizeof(pack));
  Word* to = reinterpret_cast<Word*>(p);
  TUNER_UNROLL
  for (int w = 0; w < words; w++) {
    if constexpr (ONCE) {
      __stcs(to + w, moved[w]);
    } else {
      to[w] = moved[w];
    }
  }
}
