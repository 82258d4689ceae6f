// swish(x + bias of the channel), x channels-last, the result not; or, with TURN_IN, a change of layout alone.
#include "families/turned.cuh"

#ifndef BLOCK_SIZE
#define BLOCK_SIZE 256
#endif
#ifndef VECTOR_WIDTH
#define VECTOR_WIDTH 4
#endif
#ifndef LANES
#define LANES 8
#endif
#ifndef UNROLL
#define UNROLL 4
#endif
#ifndef STAGED
#define STAGED 0
#endif
#ifndef STREAMING
#define STREAMING 0
#endif
#ifndef TURN_IN
#define TURN_IN 0
#endif

struct Schedule {
  static constexpr int block_size = BLOCK_SIZE, vector_width = VECTOR_WIDTH, lanes = LANES, unroll = UNROLL;
  static constexpr bool staged = STAGED, streaming = STREAMING;
};

struct Biased {
  static constexpr int INPUTS = 1, RESULTS = 1;
  const Element* input[INPUTS];
  Element* result[RESULTS];
  const Element* bias;
  Index channels;

  struct Row {
    float bias;
  };
  __device__ Row row(Index r) const { return {to_float(bias[r % channels])}; }
  __device__ void map(const Row& row, Index, const float (&in)[INPUTS], float (&out)[RESULTS]) const {
    const float x = in[0] + row.bias;
    out[0] = x / (1.0f + expf(-x));
  }
};

extern "C" int run(const Element* x, const Element* bias, Element* y, long long samples, long long channels,
                   long long positions, void* stream) {
  if constexpr (TURN_IN) {
    return launch_turn_in<Schedule>(x, y, samples, channels, positions, stream);
  } else {
    return launch_turned<Schedule>(Biased{{x}, {y}, bias, static_cast<Index>(channels)}, samples, channels, positions,
                                   stream);
  }
}
