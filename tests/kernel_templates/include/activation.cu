// run(x, out, n): relu, hardswish and identity of n floats, one row each.
#include "core/launch.cuh"
#include "numerics/activation.cuh"

__global__ void rows(const float* x, float* out, long long n) {
  for (long long i = threadIdx.x; i < n; i += blockDim.x) {
    out[i] = activated<Relu>(x[i]);
    out[n + i] = activated<Hardswish>(x[i]);
    out[2 * n + i] = activated<Identity>(x[i]);
  }
}

extern "C" int run(const float* x, float* out, long long n, void* stream) {
  rows<<<1, 64, 0, static_cast<cudaStream_t>(stream)>>>(x, out, n);
  return cudaGetLastError();
}
