// What lets one header serve CUDA kernels and, through a host compiler, the CPU.
#pragma once

#ifdef __CUDACC__
#define TUNER_INLINE __host__ __device__ __forceinline__
#define TUNER_UNROLL _Pragma("unroll")
#else
#define TUNER_INLINE inline
#define TUNER_UNROLL
#endif

TUNER_INLINE constexpr long long ceil_div(long long a, long long b) { return (a + b - 1) / b; }
