// A float as the sum of two numbers that a tensor core takes.
//
// A float is more than one tensor-core operand holds (11 significant bits in tf32 and in fp16), so it is split
// into high and low, each rounded to nearest; high * high + high * low + low * high keeps about 22 bits.
#pragma once
#include <cstdint>
#include <cuda_fp16.h>

// The two parts, of one value (tf32) or of two neighbours (fp16), as operand registers.
struct Split {
  uint32_t high, low;
};

__device__ __forceinline__ uint32_t round_tf32(float v) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(v));
  return bits;
}

// The low part keeps all its bits; the tensor core reads the upper 19 of the 32.
__device__ __forceinline__ Split split_tf32(float v) {
  const uint32_t high = round_tf32(v);
  return {high, __float_as_uint(v - __uint_as_float(high))};
}

// Both halves in one word: high in bits 0-15, low in bits 16-31. |v| < 65504.
__device__ __forceinline__ uint32_t split_fp16(float v) {
  const __half high = __float2half_rn(v), low = __float2half_rn(v - __half2float(high));
  return __half_as_ushort(high) | static_cast<uint32_t>(__half_as_ushort(low)) << 16;
}

// Two values rounded to halves in one word, the first in the lower half.
__device__ __forceinline__ uint32_t pack_fp16(float first, float second) {
  uint32_t bits;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
  return bits;
}

// Two words of split_fp16, for k and k + 1, to the operand registers of their high and of their low parts.
__device__ __forceinline__ Split pair_fp16(uint32_t first, uint32_t second) {
  return {__byte_perm(first, second, 0x5410), __byte_perm(first, second, 0x7632)};
}
