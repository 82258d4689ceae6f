// What every CUDA source exports and every launcher needs.
#pragma once
#include <climits>
#include <cuda_runtime.h>

// The driver's words for the code that a launcher returned.
extern "C" const char* tuner_error(int code) { return cudaGetErrorString(static_cast<cudaError_t>(code)); }

__host__ __device__ constexpr long long ceil_div(long long a, long long b) { return (a + b - 1) / b; }

// A launcher whose grid would exceed this returns cudaErrorInvalidConfiguration instead of wrapping around.
constexpr long long MAX_GRID_X = INT_MAX;
