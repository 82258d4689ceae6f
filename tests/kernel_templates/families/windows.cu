// Pooling between two maps, each with operands of the plane and of the place in it. `kind` says which windows.
#include "families/windows.cuh"

template <int ROWS_EACH, int SLICES_EACH>
struct Schedule {
  static constexpr int block_size = 128, vector_width = 16 / sizeof(Element) < 8 ? 4 : 8;
  static constexpr int rows = ROWS_EACH, slices = SLICES_EACH;
  static constexpr bool streaming = false;
};

struct Between {
  static constexpr int INPUTS = 1, RESULTS = 1;
  const Element* input[INPUTS];
  Element* result[RESULTS];
  const Element *scale, *shift, *late;

  struct Row {
    float scale;
  };
  __device__ Row row(Index r) const { return {to_float(scale[r])}; }
  __device__ float before(const Row& row, Index i, const float (&in)[INPUTS]) const {
    return in[0] * row.scale + to_float(shift[i]);
  }
  __device__ void after(const Row& row, Index i, float pooled, float (&out)[RESULTS]) const {
    out[0] = pooled * row.scale + to_float(late[i]);
  }
};

struct Max2 {
  static constexpr int kernel[3] = {1, 2, 2}, stride[3] = {1, 2, 2}, padding[3] = {0, 0, 0}, dilation[3] = {1, 1, 1};
  static constexpr Pool pool = Pool::max;
};
struct Max4Overlapping {
  static constexpr int kernel[3] = {1, 4, 4}, stride[3] = {1, 1, 1}, padding[3] = {0, 1, 1}, dilation[3] = {1, 1, 1};
  static constexpr Pool pool = Pool::max;
};
struct MaxDilated {
  static constexpr int kernel[3] = {3, 3, 3}, stride[3] = {2, 2, 2}, padding[3] = {1, 1, 1}, dilation[3] = {3, 3, 3};
  static constexpr Pool pool = Pool::max;
};
struct Mean3 {
  static constexpr int kernel[3] = {3, 3, 3}, stride[3] = {2, 2, 2}, padding[3] = {1, 1, 1}, dilation[3] = {1, 1, 1};
  static constexpr Pool pool = Pool::mean;
};
struct MeanValid3 {
  static constexpr int kernel[3] = {1, 3, 3}, stride[3] = {1, 2, 2}, padding[3] = {0, 1, 1}, dilation[3] = {1, 1, 1};
  static constexpr Pool pool = Pool::mean_valid;
};
struct Max8OfLines {
  static constexpr int kernel[3] = {1, 1, 8}, stride[3] = {1, 1, 1}, padding[3] = {0, 0, 4}, dilation[3] = {1, 1, 3};
  static constexpr Pool pool = Pool::max;
};
struct MeanTall {  // too high to be unrolled
  static constexpr int kernel[3] = {1, 80, 5}, stride[3] = {1, 3, 5}, padding[3] = {0, 2, 0}, dilation[3] = {1, 1, 1};
  static constexpr Pool pool = Pool::mean;
};

extern "C" int pool(long long kind, const Element* x, const Element* scale, const Element* shift, const Element* late,
                    Element* y, long long rows, long long depth, long long height, long long width,
                    long long out_depth, long long out_height, long long out_width, void* stream) {
  const Between f{{x}, {y}, scale, shift, late};
  const auto launch = [&](auto geometry, auto schedule) {
    return launch_windows<decltype(schedule), decltype(geometry)>(f, rows, depth, height, width, out_depth, out_height,
                                                                  out_width, stream);
  };
  switch (kind) {
    case 0: return launch(Max2{}, Schedule<2, 1>{});
    case 1: return launch(Max4Overlapping{}, Schedule<4, 1>{});
    case 2: return launch(MaxDilated{}, Schedule<1, 2>{});
    case 3: return launch(Mean3{}, Schedule<2, 2>{});
    case 4: return launch(MeanValid3{}, Schedule<1, 1>{});
    case 5: return launch(Max8OfLines{}, Schedule<1, 1>{});
    default: return launch(MeanTall{}, Schedule<1, 1>{});
  }
}
