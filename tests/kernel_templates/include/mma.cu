// run(a, b, out): a (16, 8) by b (8, 8), operands split in tf32 and multiplied three times.
#include "core/launch.cuh"
#include "core/mma.cuh"
#include "numerics/split.cuh"

__global__ void multiply(const float* a, const float* b, float* out) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  uint32_t high[4], low[4];
  for (int i = 0; i < 4; i++) {
    const Split part = split_tf32(a[(g + i % 2 * 8) * 8 + t + i / 2 * 4]);
    high[i] = part.high, low[i] = part.low;
  }
  const Split b0 = split_tf32(b[t * 8 + g]), b1 = split_tf32(b[(t + 4) * 8 + g]);
  float sum[4] = {};
  mma_tf32(sum, low, b0.high, b1.high, sum);
  mma_tf32(sum, high, b0.low, b1.low, sum);
  mma_tf32(sum, high, b0.high, b1.high, sum);
  for (int i = 0; i < 4; i++) out[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sum[i];
}

extern "C" int run(const float* a, const float* b, float* out, void* stream) {
  multiply<<<1, 32, 0, static_cast<cudaStream_t>(stream)>>>(a, b, out);
  return cudaGetLastError();
}
