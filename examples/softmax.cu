// Softmax of each row of x (rows, columns): one block a row.
#include "core/launch.cuh"

#ifndef BLOCK_SIZE  // threads of a block
#define BLOCK_SIZE 256
#endif
#ifndef UNROLL  // elements of a step
#define UNROLL 1
#endif

constexpr int STEPS = UNROLL;

struct Larger {
  __device__ float operator()(float a, float b) const { return a > b ? a : b; }
};
struct Sum {
  __device__ float operator()(float a, float b) const { return a + b; }
};

// `value` of all threads in one; every thread of the block gets it.
template <class Operation>
__device__ float of_block(float value, Operation combine) {
  __shared__ float values[BLOCK_SIZE];
  __syncthreads();
  values[threadIdx.x] = value;
  for (int half = BLOCK_SIZE / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) values[threadIdx.x] = combine(values[threadIdx.x], values[threadIdx.x + half]);
  }
  __syncthreads();
  return values[0];
}

__global__ void softmax_rows(const float* x, float* out, long long columns) {
  const float* from = x + blockIdx.x * columns;
  float* to = out + blockIdx.x * columns;
  float largest = -INFINITY, sum = 0.0f;
#pragma unroll STEPS
  for (long long i = threadIdx.x; i < columns; i += BLOCK_SIZE) largest = Larger()(from[i], largest);
  largest = of_block(largest, Larger());
#pragma unroll STEPS
  for (long long i = threadIdx.x; i < columns; i += BLOCK_SIZE) sum += expf(from[i] - largest);
  sum = of_block(sum, Sum());
#pragma unroll STEPS
  for (long long i = threadIdx.x; i < columns; i += BLOCK_SIZE) to[i] = expf(from[i] - largest) / sum;
}

extern "C" int softmax(const float* x, float* out, long long rows, long long columns, void* stream) {
  if (rows > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  softmax_rows<<<static_cast<unsigned>(rows), BLOCK_SIZE, 0, static_cast<cudaStream_t>(stream)>>>(x, out, columns);
  return cudaGetLastError();
}
