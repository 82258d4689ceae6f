// cumsum or, with PRODUCT, cumprod of x, or of x where the second tensor is not 0 (MASKED); REVERSE from the end,
// EXCLUSIVE without the element itself.
#include "families/scan.cuh"

#ifndef BLOCK_SIZE
#define BLOCK_SIZE 256
#endif
#ifndef VECTOR_WIDTH
#define VECTOR_WIDTH 4
#endif
#ifndef UNROLL
#define UNROLL 4
#endif
#ifndef WARP_A_ROW
#define WARP_A_ROW 0
#endif
#ifndef PRODUCT
#define PRODUCT 0
#define REVERSE 0
#define EXCLUSIVE 0
#define MASKED 0
#endif

struct Schedule {
  static constexpr int block_size = BLOCK_SIZE, vector_width = VECTOR_WIDTH, unroll = UNROLL;
  static constexpr bool warp_a_row = WARP_A_ROW;
};

struct Scanned {
  static constexpr int INPUTS = MASKED ? 2 : 1, RESULTS = 1;
  static constexpr bool product = PRODUCT, reverse = REVERSE, exclusive = EXCLUSIVE;
  const Element* input[INPUTS];
  Element* result[RESULTS];

  struct Row {};
  __device__ Row row(Index) const { return {}; }
  __device__ float lift(const Row&, Index, const float (&in)[INPUTS]) const {
    return MASKED && in[INPUTS - 1] == 0.0f ? 0.0f : in[0];
  }
  __device__ void results(const Row&, Index, const float (&)[INPUTS], float running, float (&out)[RESULTS]) const {
    out[0] = running;
  }
};

extern "C" int run(const Element* x, const Element* mask, Element* y, long long outer, long long length,
                   long long inner, void* stream) {
  Scanned f{{x}, {y}};
  if constexpr (MASKED) f.input[Scanned::INPUTS - 1] = mask;
  return launch_scan<Schedule>(f, outer, length, inner, stream);
}
