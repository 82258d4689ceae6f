// Pooling between two maps, each with operands of the plane and of the place in it. `kind` says which windows.
#include "families/windows.cuh"
#include "streams.hpp"

template <int ROWS_EACH, int SLICES_EACH>
struct Schedule {
  static constexpr int block_size = 128, vector_width = 16 / sizeof(Element) < 8 ? 4 : 8;
  static constexpr int rows = ROWS_EACH, slices = SLICES_EACH;
  static constexpr bool streaming = false;
};

extern "C" int pool(long long kind, const Element* x, const Element* scale, const Element* shift, const Element* late,
                    Element* y, long long rows, long long depth, long long height, long long width,
                    long long out_depth, long long out_height, long long out_width, void* stream) {
  const PooledBetween f{{x}, {y}, scale, shift, late};
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
