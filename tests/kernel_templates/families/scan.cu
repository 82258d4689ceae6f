// Scans between two maps, each with operands of the row and of the place in it. `kind` says which.
#include "families/scan.cuh"

template <bool WARP>
struct Schedule {
  static constexpr int block_size = 128, vector_width = 16 / sizeof(Element), unroll = 2;
  static constexpr bool warp_a_row = WARP;
};

template <bool PRODUCTS, bool FROM_THE_END, bool WITHOUT_OWN>
struct Between {
  static constexpr int INPUTS = 2, RESULTS = 1;
  static constexpr bool product = PRODUCTS, reverse = FROM_THE_END, exclusive = WITHOUT_OWN;
  const Element* input[INPUTS];
  Element* result[RESULTS];
  const Element *scale, *shift;

  struct Row {
    float scale;
  };
  __device__ Row row(Index r) const { return {to_float(scale[r])}; }
  __device__ float lift(const Row& row, Index i, const float (&in)[INPUTS]) const {
    return in[0] * row.scale + to_float(shift[i]);
  }
  __device__ void results(const Row&, Index i, const float (&in)[INPUTS], float running, float (&out)[RESULTS]) const {
    out[0] = running + in[1] - to_float(shift[i]);
  }
};

extern "C" int scan(long long kind, long long by_warps, const Element* x, const Element* late, const Element* scale,
                    const Element* shift, Element* y, long long outer, long long length, long long inner,
                    void* stream) {
  const auto launch = [&](auto f) {
    f.input[0] = x, f.input[1] = late, f.result[0] = y, f.scale = scale, f.shift = shift;
    return by_warps ? launch_scan<Schedule<true>>(f, outer, length, inner, stream)
                    : launch_scan<Schedule<false>>(f, outer, length, inner, stream);
  };
  switch (kind) {
    case 0: return launch(Between<false, false, false>{});
    case 1: return launch(Between<true, false, false>{});
    case 2: return launch(Between<false, true, false>{});
    default: return launch(Between<false, true, true>{});
  }
}
