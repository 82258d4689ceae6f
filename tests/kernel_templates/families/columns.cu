#include "families/columns.cuh"
#include "reductions.hpp"

template <int BLOCK, int DEEP, int V, int U, int KEEP_COLUMN, int SPLIT_COLUMN>
struct Schedule {
  static constexpr int block_size = BLOCK, threads_y = DEEP, vector_width = V, unroll = U;
  static constexpr int keep = KEEP_COLUMN, split = SPLIT_COLUMN;
};

template <class... Schedules>
int launch(int schedule, int which, const Tensors& t, long long outer, long long length, void* workspace,
           void* stream) {
  int at = 0, code = -1;
  const auto attempt = [&](auto kind) {
    if (at++ != schedule) return;
    code = with_functor(which, t, [&](const auto& f) {
      if (workspace != nullptr) cudaMemsetAsync(workspace, 0xff, columns_workspace<std::decay_t<decltype(f)>>(),
                                                static_cast<cudaStream_t>(stream));
      return launch_columns<decltype(kind)>(f, outer, length, t.rows / outer, workspace, stream);
    });
  };
  (attempt(Schedules()), ...);
  return code;
}

extern "C" int run(int schedule, int which, const Element* a, const Element* b, const float* weight, Element* first,
                   Element* second, void* totals, long long outer, long long rows, long long length, void* workspace,
                   void* stream) {
#ifdef ONE_SCHEDULE  // compiles in a fraction of the time
  return launch<Schedule<256, 8, 4, 8, 1, 2>>(
#else
  return launch<Schedule<128, 1, 4, 4, 1, 0>, Schedule<256, 8, 4, 8, 1, 2>, Schedule<256, 4, 2, 4, 0, 0>,
                Schedule<512, 16, 4, 2, 0, 4>, Schedule<64, 64, 1, 2, 1, 4>>(
#endif
      schedule, which, {a, b, weight, first, second, totals, rows}, outer, length, workspace, stream);
}
