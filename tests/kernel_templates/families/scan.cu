// Scans between two maps, each with operands of the row and of the place in it. `kind` says which.
#include "families/scan.cuh"
#include "streams.hpp"

template <bool WARP>
struct Schedule {
  static constexpr int block_size = 128, vector_width = 16 / sizeof(Element), unroll = 2;
  static constexpr bool warp_a_row = WARP;
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
    case 0: return launch(ScannedBetween<false, false, false>{});
    case 1: return launch(ScannedBetween<true, false, false>{});
    case 2: return launch(ScannedBetween<false, true, false>{});
    default: return launch(ScannedBetween<false, true, true>{});
  }
}
