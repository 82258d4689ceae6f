// Warpgroup products of Hopper (sm_90a): 64 x 16 by 16 x N in fp16, accumulated in float.
//
// Each of the four warps holds 16 rows, in the layout of core/mma.cuh: A in four registers, N / 8 accumulator tiles. B lies
// in shared memory without swizzle: 8 x 8 blocks of halves, 128 bytes each with k along the row; the two blocks
// of one 16-k step side by side, the next eight columns 256 bytes on.
#pragma once
#include <cstdint>

// B's descriptor. `p` is a multiple of 16 bytes.
__device__ __forceinline__ uint64_t wgmma_descriptor(const void* p) {
  const uint64_t at = static_cast<uint32_t>(__cvta_generic_to_shared(p));
  return (at & 0x3ffff) >> 4 | static_cast<uint64_t>(128 >> 4) << 16 | static_cast<uint64_t>(256 >> 4) << 32;
}

// Shared memory that was written by ordinary stores is visible to later products once all have called this and met
// at a barrier.
__device__ __forceinline__ void wgmma_publish() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// The registers `d` are final here: none of them is computed later, between two products.
template <int R>
__device__ __forceinline__ void wgmma_settle(float (&d)[R]) {
#pragma unroll
  for (int i = 0; i < R; i++) asm volatile("" : "+f"(d[i])::"memory");
}

// Before the first product, once the sums are settled; settles the registers of A.
template <int STEPS>
__device__ __forceinline__ void wgmma_begin(uint32_t (&high)[STEPS][4], uint32_t (&low)[STEPS][4]) {
#pragma unroll
  for (int i = 0; i < 4 * STEPS; i++) asm volatile("" : "+r"(high[i / 4][i % 4]), "+r"(low[i / 4][i % 4])::"memory");
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Until all products are done; their sums may be read once they are settled, too.
__device__ __forceinline__ void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory"); }

#define WGMMA_8(i)                                                                                           \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])

// d += a * b. N = 2 R columns: 64 or 72.
__device__ __forceinline__ void wgmma_fp16(float (&d)[32], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, {%32,%33,%34,%35}, %36, 1, 1, 1, 0;"
      : WGMMA_8(0), WGMMA_8(8), WGMMA_8(16), WGMMA_8(24)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

__device__ __forceinline__ void wgmma_fp16(float (&d)[36], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n72k16.f32.f16.f16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35}, {%36,%37,%38,%39}, %40, 1,"
      " 1, 1, 0;"
      : WGMMA_8(0), WGMMA_8(8), WGMMA_8(16), WGMMA_8(24), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
#undef WGMMA_8
