// Tensor-core products for sm_80 and later: one warp multiplies 16 x K by K x 8 and adds to 16 x 8 floats.
//
// Who holds what, with g = lane / 4 and t = lane % 4 (one register a bracket):
//   accumulator   (row g, columns 2t, 2t + 1) [0] [1], (row g + 8, the same) [2] [3]
//   tf32, K = 8   A: (g, t) (g + 8, t) (g, t + 4) (g + 8, t + 4)       B: (row t, column g) (t + 4, g)
//   fp16, K = 16  the same with every k standing for the pair 2k, 2k + 1, the lower k in the lower half
// The order of k is free as long as A and B agree, which the callers use.
#pragma once
#include <cstdint>

// d = a * b + c; d and c may be one array.
__device__ __forceinline__ void mma_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                         const float (&c)[4]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

__device__ __forceinline__ void mma_fp16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                         const float (&c)[4]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

// Two or four words from shared memory. Volatile, so that no compiler moves them out of a loop into registers.
__device__ __forceinline__ void load_shared(uint32_t (&v)[2], const uint32_t* p) {
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(p));
  asm volatile("ld.shared.v2.u32 {%0,%1}, [%2];" : "=r"(v[0]), "=r"(v[1]) : "r"(at));
}

__device__ __forceinline__ void load_shared(uint32_t (&v)[4], const uint32_t* p) {
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(p));
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3]) : "r"(at));
}
