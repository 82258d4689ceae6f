// The families on the CPU with the functors that they are tried with on CUDA, by one schedule or the other.
#include "families/columns.hpp"
#include "families/map.hpp"
#include "families/rows.hpp"
#include "families/scan.hpp"
#include "families/windows.hpp"

#include "reductions.hpp"
#include "streams.hpp"

template <int OTHERWISE>
struct Schedule {
  static inline int threads = 3;
  static constexpr int grain = 1, block = OTHERWISE ? 64 : 32, columns = OTHERWISE ? 16 : 8, keep = OTHERWISE;
  static constexpr int streaming = OTHERWISE, lines = OTHERWISE ? 3 : 8, slices = OTHERWISE ? 1 : 4;
};

template <class Launch>
int with_schedule(long long otherwise, const Launch& launch) {
  return otherwise ? launch(Schedule<1>()) : launch(Schedule<0>());
}

extern "C" int set_threads(long long count, void*) {
  Schedule<0>::threads = Schedule<1>::threads = static_cast<int>(count);
  return 0;
}

extern "C" int affine(long long otherwise, const Element* x, const Element* y, const Element* scale,
                      const Element* shift, Element* result, Element* difference, long long rows, long long length,
                      void* stream) {
  return with_schedule(otherwise, [&](auto schedule) {
    return launch_map<decltype(schedule)>(Affine{{x, y}, {result, difference}, scale, shift}, rows, length, stream);
  });
}

extern "C" int numbers(Element* result, long long rows, long long length, void* stream) {
  return launch_map<Schedule<0>>(Numbers{{}, {result}}, rows, length, stream);
}

extern "C" int rows(long long otherwise, long long which, const Element* a, const Element* b,
                    const Real* weight, Element* first, Element* second, void* totals, long long segments,
                    long long rows, long long length, void* stream) {
  return with_functor(static_cast<int>(which), {a, b, weight, first, second, totals, rows}, [&](const auto& f) {
    return with_schedule(otherwise, [&](auto schedule) {
      return launch_rows<decltype(schedule)>(f, segments, rows, length, nullptr, stream);
    });
  });
}

extern "C" int columns(long long otherwise, long long which, const Element* a, const Element* b,
                       const Real* weight, Element* first, Element* second, void* totals, long long outer,
                       long long length, long long inner, void* stream) {
  const Tensors t{a, b, weight, first, second, totals, outer * inner};
  return with_functor(static_cast<int>(which), t, [&](const auto& f) {
    return with_schedule(otherwise, [&](auto schedule) {
      return launch_columns<decltype(schedule)>(f, outer, length, inner, nullptr, stream);
    });
  });
}

extern "C" int pool(long long otherwise, long long kind, const Element* x, const Element* scale, const Element* shift,
                    const Element* late, Element* y, long long rows, long long depth, long long height,
                    long long width, long long out_depth, long long out_height, long long out_width, void* stream) {
  const PooledBetween f{{x}, {y}, scale, shift, late};
  const auto launch = [&](auto geometry) {
    return with_schedule(otherwise, [&](auto schedule) {
      return launch_windows<decltype(schedule), decltype(geometry)>(f, rows, depth, height, width, out_depth,
                                                                    out_height, out_width, stream);
    });
  };
  switch (kind) {
    case 0: return launch(Max2{});
    case 1: return launch(Max4Overlapping{});
    case 2: return launch(MaxDilated{});
    case 3: return launch(Mean3{});
    case 4: return launch(MeanValid3{});
    case 5: return launch(Max8OfLines{});
    default: return launch(MeanTall{});
  }
}

extern "C" int scan(long long otherwise, long long kind, const Element* x, const Element* late, const Element* scale,
                    const Element* shift, Element* y, long long outer, long long length, long long inner,
                    void* stream) {
  const auto launch = [&](auto f) {
    f.input[0] = x, f.input[1] = late, f.result[0] = y, f.scale = scale, f.shift = shift;
    return with_schedule(otherwise, [&](auto schedule) {
      return launch_scan<decltype(schedule)>(f, outer, length, inner, stream);
    });
  };
  switch (kind) {
    case 0: return launch(ScannedBetween<false, false, false>{});
    case 1: return launch(ScannedBetween<true, false, false>{});
    case 2: return launch(ScannedBetween<false, true, false>{});
    default: return launch(ScannedBetween<false, true, true>{});
  }
}
