// run(a, b, out): a (64, 16) by b (16, 64) in fp16 by one warpgroup.
#include "core/launch.cuh"
#include "core/wgmma.cuh"
#include "numerics/split.cuh"

__global__ void multiply(const float* a, const float* b, float* out) {
  alignas(16) __shared__ uint32_t columns[8 * 64];  // eight columns: two blocks of 8 x 8 halves
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  for (int at = threadIdx.x; at < 8 * 64; at += 128) {
    const int column = at / 64 * 8 + at / 4 % 8, k = at / 32 % 2 * 8 + at % 4 * 2;
    columns[at] = pack_fp16(b[k * 64 + column], b[(k + 1) * 64 + column]);
  }
  uint32_t high[1][4], low[1][4] = {};
  for (int i = 0; i < 4; i++) {
    const float* from = a + (16 * warp + g + i % 2 * 8) * 16 + 2 * t + i / 2 * 8;
    high[0][i] = pack_fp16(from[0], from[1]);
  }
  float sum[32] = {};
  wgmma_publish();
  __syncthreads();
  wgmma_settle(sum);
  wgmma_begin(high, low);
  wgmma_fp16(sum, high[0], wgmma_descriptor(columns));
  wgmma_commit();
  wgmma_wait();
  wgmma_settle(sum);
  for (int i = 0; i < 32; i++) {
    out[(16 * warp + g + i % 4 / 2 * 8) * 64 + i / 4 * 8 + 2 * t + i % 2] = sum[i];
  }
}

extern "C" int run(const float* a, const float* b, float* out, void* stream) {
  multiply<<<1, 128, 0, static_cast<cudaStream_t>(stream)>>>(a, b, out);
  return cudaGetLastError();
}
