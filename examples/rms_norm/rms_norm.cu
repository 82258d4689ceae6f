// RMSNorm of each row of x (rows, size): one block a row.
#include "core/launch.cuh"
#include "core/reduce.cuh"

#ifndef BLOCK_SIZE  // threads of a block
#define BLOCK_SIZE 256
#endif
#ifndef REDUCTION
#define REDUCTION_SHUFFLE 0
#define REDUCTION_SHARED 1
#define REDUCTION REDUCTION_SHUFFLE
#endif

constexpr Reduction HOW = REDUCTION == REDUCTION_SHUFFLE ? Reduction::shuffle : Reduction::shared;

__global__ void rms_norm_rows(const float* x, const float* weight, float* out, long long size, float eps) {
  __shared__ float scratch[reduce_scratch(BLOCK_SIZE, HOW)];
  const float* from = x + blockIdx.x * size;
  float* to = out + blockIdx.x * size;
  float sum = 0.0f;
  for (long long i = threadIdx.x; i < size; i += BLOCK_SIZE) sum += from[i] * from[i];
  sum = block_reduce<BLOCK_SIZE, HOW>(sum, Sum(), scratch);
  const float scale = 1.0f / sqrtf(sum / size + eps);
  for (long long i = threadIdx.x; i < size; i += BLOCK_SIZE) to[i] = from[i] * scale * weight[i];
}

extern "C" int rms_norm(const float* x, const float* weight, float* out, long long rows, long long size, float eps,
                        void* stream) {
  if (rows > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  const auto on = static_cast<cudaStream_t>(stream);
  rms_norm_rows<<<static_cast<unsigned>(rows), BLOCK_SIZE, 0, on>>>(x, weight, out, size, eps);
  return cudaGetLastError();
}
