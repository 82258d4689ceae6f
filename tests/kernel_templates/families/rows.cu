#include "families/rows.cuh"
#include "reductions.hpp"

template <int BLOCK, int SHARERS, int V, int U, int KEEP_ROW, int SHARED, int SPLIT_ROW, int CHUNK = 0>
struct Schedule {
  static constexpr int block_size = BLOCK, threads_per_row = SHARERS, vector_width = V, unroll = U;
  static constexpr int keep = KEEP_ROW, reduction = SHARED, split = SPLIT_ROW, chunk_mb = CHUNK;
};

template <class... Schedules>
int launch(int schedule, int which, const Tensors& t, long long segments, long long length, void* workspace,
           void* stream) {
  int at = 0, code = -1;
  const auto attempt = [&](auto kind) {
    if (at++ != schedule) return;
    code = with_functor(which, t, [&](const auto& f) {
      if (workspace != nullptr) cudaMemsetAsync(workspace, 0xff, rows_workspace<std::decay_t<decltype(f)>>(),
                                                static_cast<cudaStream_t>(stream));  // nothing there is to be trusted
      return launch_rows<decltype(kind)>(f, segments, t.rows, length, workspace, stream);
    });
  };
  (attempt(Schedules()), ...);
  return code;
}

extern "C" int run(int schedule, int which, const Element* a, const Element* b, const float* weight, Element* first,
                   Element* second, void* totals, long long segments, long long rows, long long length,
                   void* workspace, void* stream) {
#ifdef ONE_SCHEDULE  // compiles in a fraction of the time
  return launch<Schedule<256, 256, 4, 4, 2, 0, 0>>(
#else
  return launch<Schedule<128, 8, 4, 2, 1, 0, 0>, Schedule<256, 32, 4, 4, 1, 0, 2>, Schedule<256, 256, 4, 4, 1, 0, 2>,
                Schedule<512, 512, 4, 4, 0, 0, 0>, Schedule<128, 128, 2, 2, 0, 1, 4, 1>, Schedule<64, 1, 1, 4, 0, 0, 0>,
                Schedule<256, 256, 4, 4, 2, 0, 0>, Schedule<64, 64, 2, 2, 2, 0, 4>>(
#endif
      schedule, which, {a, b, weight, first, second, totals, rows}, segments, length, workspace, stream);
}
