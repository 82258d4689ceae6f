// What every CUDA source exports and every launcher needs.
#pragma once
#include <climits>
#include <cuda_runtime.h>

#include "core/portable.hpp"

// The driver's words for the code that a launcher returned.
extern "C" const char* tuner_error(int code) { return cudaGetErrorString(static_cast<cudaError_t>(code)); }

// ---- one kernel started over the end of the one before it (programmatic dependent launch, sm_90 and later) ----
//
// The first one calls let_next_start(): once all of its blocks have, blocks of the next start where there is room.
// There they do what needs nothing of the first, and then wait_for_previous(): it is done, and what it wrote is to be
// seen. Built for an older architecture, or launched otherwise, the next kernel starts when the first is done.

__device__ __forceinline__ void let_next_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

__device__ __forceinline__ void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Launches `kernel` over the end of what is on the stream before it, if `overlap`.
template <class... Parameters, class... Arguments>
inline cudaError_t launch_next(bool overlap, void (*kernel)(Parameters...), unsigned blocks, unsigned threads,
                               cudaStream_t stream, Arguments... arguments) {
  constexpr int architectures[] = {__CUDA_ARCH_LIST__};
  for (const int architecture : architectures) overlap = overlap && architecture >= 900;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t launch{};
  launch.gridDim = dim3(blocks), launch.blockDim = dim3(threads), launch.stream = stream;
  launch.attrs = &attribute, launch.numAttrs = overlap;
  return cudaLaunchKernelEx(&launch, kernel, arguments...);
}

// A launcher whose grid would exceed this returns cudaErrorInvalidConfiguration instead of wrapping around.
constexpr long long MAX_GRID_X = INT_MAX;
