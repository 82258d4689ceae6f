// Loads and stores of 1, 2 or 4 floats in one instruction.
#pragma once
#include <cstdint>

// V floats that move together; `at[j]` is the j-th. Aligned to its own size, as the instruction demands.
template <int V>
struct alignas(4 * V) Vector {
  static_assert(V == 1 || V == 2 || V == 4, "a vector load moves 1, 2 or 4 floats");
  float at[V];
};

// Number of floats of p[0, count) that come before the first address at which a Vector<V> may start.
// Rows of odd length start at another offset each: peel this many singly, then count what is left in
// whole vectors, and treat the rest singly again.
template <int V>
__device__ __forceinline__ int unaligned_head(const float* p, long long count) {
  const int head = static_cast<int>((0 - (reinterpret_cast<std::uintptr_t>(p) / sizeof(float))) & (V - 1));
  return head < count ? head : static_cast<int>(count);
}

// `p` is aligned to 4 * V bytes in all that follow.
template <int V>
__device__ __forceinline__ Vector<V> load(const float* p) {
  return *reinterpret_cast<const Vector<V>*>(p);
}

// For values that are read once: the first to be evicted from the caches.
template <int V>
__device__ __forceinline__ Vector<V> load_once(const float* p) {
  Vector<V> v;
  if constexpr (V == 4) {
    const float4 x = __ldcs(reinterpret_cast<const float4*>(p));
    v.at[0] = x.x, v.at[1] = x.y, v.at[2] = x.z, v.at[3] = x.w;
  } else if constexpr (V == 2) {
    const float2 x = __ldcs(reinterpret_cast<const float2*>(p));
    v.at[0] = x.x, v.at[1] = x.y;
  } else {
    v.at[0] = __ldcs(p);
  }
  return v;
}

template <int V>
__device__ __forceinline__ void store(float* p, Vector<V> v) {
  *reinterpret_cast<Vector<V>*>(p) = v;
}

// For results that this kernel does not read again: they leave the caches first.
template <int V>
__device__ __forceinline__ void store_once(float* p, Vector<V> v) {
  if constexpr (V == 4) {
    __stcs(reinterpret_cast<float4*>(p), make_float4(v.at[0], v.at[1], v.at[2], v.at[3]));
  } else if constexpr (V == 2) {
    __stcs(reinterpret_cast<float2*>(p), make_float2(v.at[0], v.at[1]));
  } else {
    __stcs(p, v.at[0]);
  }
}
