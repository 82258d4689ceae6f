// run(x, out): of x (256), each warp's sum, each warp's sums over lanes equal modulo 4 (by every lane), the block's
// largest and smallest value, each by shuffles and through shared memory.
#include "core/launch.cuh"
#include "core/reduce.cuh"

__global__ void reduce(const float* x, float* out) {
  __shared__ float scratch[256];
  const float v = x[threadIdx.x];
  out[threadIdx.x] = static_cast<float>(warp_reduce(static_cast<double>(v), Sum{}));
  out[256 + threadIdx.x] = warp_reduce<32, 4>(v, Sum{});
  out[512 + threadIdx.x] = run_reduce(v, Sum{}, 8);
  const float values[] = {block_reduce<256, Reduction::shuffle>(v, Max{}, scratch),
                          block_reduce<256, Reduction::shared>(v, Min{}, scratch)};
  if (threadIdx.x < 2) out[768 + threadIdx.x] = values[threadIdx.x];
}

extern "C" int run(const float* x, float* out, void* stream) {
  reduce<<<1, 256, 0, static_cast<cudaStream_t>(stream)>>>(x, out);
  return cudaGetLastError();
}
