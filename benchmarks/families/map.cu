// A map of rows (samples x channels, positions): OPERATION is one of those below.
#include "families/map.cuh"

#define SIGMOID 0
#define SWISH 1
#define BIAS_RESIDUAL_GELU 2  // gelu(x + bias of the channel) + residual
#ifndef OPERATION
#define OPERATION BIAS_RESIDUAL_GELU
#endif
#ifndef BLOCK_SIZE
#define BLOCK_SIZE 256
#endif
#ifndef VECTOR_WIDTH
#define VECTOR_WIDTH 4
#endif
#ifndef UNROLL
#define UNROLL 2
#endif
#ifndef STREAMING
#define STREAMING 0
#endif

struct Schedule {
  static constexpr int block_size = BLOCK_SIZE, vector_width = VECTOR_WIDTH, unroll = UNROLL;
  static constexpr bool streaming = STREAMING;
};

struct Mapped {
  static constexpr int INPUTS = OPERATION == BIAS_RESIDUAL_GELU ? 2 : 1, RESULTS = 1;
  const Element* input[INPUTS];
  Element* result[RESULTS];
  const Element* bias;
  Index channels;

  struct Row {
    float bias;
  };
  __device__ Row row(Index r) const { return {OPERATION == BIAS_RESIDUAL_GELU ? to_float(bias[r % channels]) : 0.0f}; }
  __device__ void map(const Row& row, Index, const float (&in)[INPUTS], float (&out)[RESULTS]) const {
    if constexpr (OPERATION == BIAS_RESIDUAL_GELU) {
      const float x = in[0] + row.bias;
      out[0] = 0.5f * x * (1.0f + erff(x * 0.70710678f)) + in[1];
    } else {
      const float share = 1.0f / (1.0f + expf(-in[0]));
      out[0] = OPERATION == SWISH ? in[0] * share : share;
    }
  }
};

extern "C" int run(const Element* x, const Element* residual, const Element* bias, Element* y, long long rows,
                   long long length, long long channels, void* stream) {
  Mapped f{{x}, {y}, bias, static_cast<Index>(channels)};
  if constexpr (Mapped::INPUTS > 1) f.input[Mapped::INPUTS - 1] = residual;
  return launch_map<Schedule>(f, rows, length, stream);
}
