// Leaky ReLU of n numbers, as somebody had it: no word of tuner in it.
#ifndef BLOCK_SIZE
#define BLOCK_SIZE 256
#endif
#ifndef PER_THREAD
#define PER_THREAD 4
#endif

__global__ void leaky_relu_kernel(const float* x, float* out, long long n, float slope) {
  const long long first = blockIdx.x * (long long)(BLOCK_SIZE * PER_THREAD) + threadIdx.x;
#pragma unroll
  for (int k = 0; k < PER_THREAD; k++) {
    const long long i = first + k * BLOCK_SIZE;
    if (i < n) out[i] = x[i] > 0 ? x[i] : x[i] * slope;
  }
}

extern "C" int leaky_relu(const float* x, float* out, long long n, float slope, void* stream) {
  const long long blocks = (n + BLOCK_SIZE * PER_THREAD - 1) / (BLOCK_SIZE * PER_THREAD);
  if (blocks == 0) return 0;
  leaky_relu_kernel<<<(unsigned)blocks, BLOCK_SIZE, 0, (cudaStream_t)stream>>>(x, out, n, slope);
  return cudaGetLastError();
}
