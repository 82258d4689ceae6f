// Two inputs and two results, with operands of the row and of the place in it; and a map of nothing.
#include "families/map.cuh"

struct Schedule {
  static constexpr int block_size = 128, vector_width = 16 / sizeof(Element), unroll = 2;
  static constexpr bool streaming = true;
};

struct Affine {
  static constexpr int INPUTS = 2, RESULTS = 2;
  const Element* input[INPUTS];
  Element* result[RESULTS];
  const Element *scale, *shift;

  struct Row {
    float scale;
  };
  __device__ Row row(Index r) const { return {to_float(scale[r])}; }
  __device__ void map(const Row& row, Index i, const float (&in)[INPUTS], float (&out)[RESULTS]) const {
    out[0] = in[0] * row.scale + to_float(shift[i]);
    out[1] = in[0] - in[1];
  }
};

struct Numbers {
  static constexpr int INPUTS = 0, RESULTS = 1;
  const Element* input[1];
  Element* result[RESULTS];

  struct Row {
    float number;
  };
  __device__ Row row(Index r) const { return {static_cast<float>(r)}; }
  __device__ void map(const Row& row, Index i, const float (&)[1], float (&out)[RESULTS]) const {
    out[0] = row.number - static_cast<float>(i);
  }
};

extern "C" int affine(const Element* x, const Element* y, const Element* scale, const Element* shift, Element* result,
                      Element* difference, long long rows, long long length, void* stream) {
  return launch_map<Schedule>(Affine{{x, y}, {result, difference}, scale, shift}, rows, length, stream);
}

extern "C" int numbers(Element* result, long long rows, long long length, void* stream) {
  return launch_map<Schedule>(Numbers{{}, {result}}, rows, length, stream);
}
