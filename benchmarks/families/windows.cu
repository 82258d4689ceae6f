// Pooling of planes; KERNEL, STRIDE, PADDING and DILATION are lists of depth, height, width, POOL one of Pool.
#include "families/windows.cuh"

#ifndef BLOCK_SIZE
#define BLOCK_SIZE 256
#endif
#ifndef VECTOR_WIDTH
#define VECTOR_WIDTH 4
#endif
#ifndef ROWS
#define ROWS 2
#endif
#ifndef SLICES
#define SLICES 1
#endif
#ifndef STREAMING
#define STREAMING 0
#endif
#ifndef POOL
#define KERNEL 1, 2, 2
#define STRIDE 1, 2, 2
#define PADDING 0, 0, 0
#define DILATION 1, 1, 1
#define POOL max
#endif

struct Schedule {
  static constexpr int block_size = BLOCK_SIZE, vector_width = VECTOR_WIDTH, rows = ROWS, slices = SLICES;
  static constexpr bool streaming = STREAMING;
};

struct Geometry {
  static constexpr int kernel[3] = {KERNEL}, stride[3] = {STRIDE}, padding[3] = {PADDING}, dilation[3] = {DILATION};
  static constexpr Pool pool = Pool::POOL;
};

struct Pooled {
  static constexpr int INPUTS = 1, RESULTS = 1;
  const Element* input[INPUTS];
  Element* result[RESULTS];

  struct Row {};
  __device__ Row row(Index) const { return {}; }
  __device__ float before(const Row&, Index, const float (&in)[INPUTS]) const { return in[0]; }
  __device__ void after(const Row&, Index, float pooled, float (&out)[RESULTS]) const { out[0] = pooled; }
};

extern "C" int run(const Element* x, Element* y, long long rows, long long depth, long long height, long long width,
                   long long out_depth, long long out_height, long long out_width, void* stream) {
  return launch_windows<Schedule, Geometry>(Pooled{{x}, {y}}, rows, depth, height, width, out_depth, out_height,
                                            out_width, stream);
}
