// Pooling of planes (depth, height, width), with maps before and after; fewer axes have leading sizes of 1.
//
// A pooling is separable. A thread pools a vector of columns over depth and height, for `slices` x `rows` results one
// above the other, so that windows that overlap there share what is loaded, and each load is a whole vector. What it
// finds goes to shared memory, where windows are pooled along the width; results leave side by side. A block takes as
// many lines of such results as fit its threads, or, where a line is too wide, a part of one.
//
// Schedule: block_size (threads at most), vector_width, rows and slices (results a thread along height and depth; 1
// where there is one anyway), streaming (what is read leaves the caches first). Geometry: see window_at.hpp.
#pragma once
#include "core/divide.hpp"
#include "core/launch.cuh"
#include "core/pack.cuh"
#include "families/addresses.cuh"
#include "families/window_at.hpp"
#include "numerics/element.hpp"

// A line is `rows` x `slices` results high and deep, as wide as the plane.
struct WindowTask {
  PlaneSizes sizes;
  Index lines, parts;    // of all planes, and of a line along the width
  Index outs, vectors;   // of one part: results along the width, and vectors that are kept for them
  Index lines_a_block;
  bool whole;  // no window's mean leaves places out
  Divider by_parts, by_vectors, by_lines_high, by_lines_deep;
  Divider by_blocks, by_columns;  // of a part's results: those a thread pools along the width, and those it writes
};

// Windows of `results` results one after the other, as their elements come one by one. Where windows overlap by far,
// what all have in common is pooled once, and what is left of it and right of it in pieces of a stride.
template <class Geometry, int AXIS, int results>
struct WindowRun {
  using Along = WindowAxis<Geometry, AXIS>;
  static constexpr int shift = (results - 1) * Along::stride;  // from the first window to the last
  static constexpr int span = shift + (Along::kernel - 1) * Along::dilation + 1;
  static constexpr bool shares = Along::dilation == 1 && Along::kernel > shift &&
                                 results * Along::kernel > span + 3 * results;
  static constexpr int pieces = shares ? 2 * results - 1 : results;  // left ones, the common one, right ones
  float piece[pieces];

  // Whether the windows have an element at this offset from the first one's start.
  static __device__ __forceinline__ constexpr bool reads(int offset) {
    for (int r = 0; r < results; r++) {
      if (has(r, offset)) return true;
    }
    return false;
  }

  __device__ __forceinline__ void start() {
    TUNER_UNROLL
    for (int p = 0; p < pieces; p++) piece[p] = pool_nothing<Geometry>();
  }

  __device__ __forceinline__ void add(int offset, float value) {
    if constexpr (shares) {
      const int beyond = offset - Along::kernel;
      const int at = beyond < 0 ? results - 1 : results + beyond / Along::stride;
      add_to(offset < shift ? offset / Along::stride : at, value);
    } else {
      TUNER_UNROLL
      for (int r = 0; r < results; r++) {
        if (has(r, offset)) add_to(r, value);
      }
    }
  }

  __device__ __forceinline__ void end(float (&found)[results]) {
    if constexpr (shares) {
      TUNER_UNROLL
      for (int r = results - 2; r >= 0; r--) add_to(r, piece[r + 1]);
      TUNER_UNROLL
      for (int r = 1; r < results; r++) {
        if (r > 1) add_to(results - 1 + r, piece[results - 2 + r]);
        add_to(r, piece[results - 1 + r]);
      }
    }
    TUNER_UNROLL
    for (int r = 0; r < results; r++) found[r] = piece[r];
  }

 private:
  static __device__ __forceinline__ constexpr bool has(int result, int offset) {
    const int at = offset - result * Along::stride;
    return at >= 0 && at % Along::dilation == 0 && at / Along::dilation < Along::kernel;
  }
  __device__ __forceinline__ void add_to(int p, float value) {
    piece[p] = Along::kernel == 1 ? value : pool_both<Geometry>(piece[p], value);
  }
};

// Along the width, windows of many elements that overlap are pooled P results a thread; others one.
template <class Geometry, int V>
struct WindowWidth {
  using Along = WindowAxis<Geometry, 2>;
  static constexpr bool blocked = Along::dilation == 1 && Along::kernel > 4 && 2 * Along::stride <= Along::kernel;
  static constexpr bool padded = Along::kernel > 4 && Along::stride < Along::kernel;  // padding is kept, as nothing
  static constexpr int P = V > 4 ? V : 4;
  static constexpr int grain = padded ? P : V;  // what the first column that is kept is a multiple of
  static constexpr int lead = (grain - Along::padding % grain) % grain;  // from there to the first window's start

  // The column that is kept first; a part's results times the stride are a multiple of the grain, where it is no first.
  static __device__ __forceinline__ int first_column(const WindowTask& task, Index part) {
    const int start = window_start<Geometry, 2>(part * task.outs);
    return padded ? start - lead : start < 0 ? 0 : start / V * V;
  }

  // Vectors that are kept for `outs` results along the width, at most.
  static Index vectors(const PlaneSizes& sizes, Index outs) {
    const long long results = blocked ? ceil_div(outs, P) * P : outs;
    const long long span = (results - 1) * Along::stride + (Along::kernel - 1) * Along::dilation + 1;
    if (padded) return static_cast<Index>(ceil_div(lead + span, P) * P / V);
    const long long read = outs >= sizes.out_width ? span - Along::padding : span + V - 1;
    return static_cast<Index>(ceil_div(read < sizes.width ? read : sizes.width, V));
  }
};

struct Line {
  Index plane, depth, height;  // the first result's place
};

template <class Schedule>
__device__ __forceinline__ Line line_at(const WindowTask& task, Index line) {
  const Index above = task.by_lines_high.quotient(line), plane = task.by_lines_deep.quotient(above);
  return {plane, (above - plane * task.by_lines_deep.divisor) * Schedule::slices,
          (line - above * task.by_lines_high.divisor) * Schedule::rows};
}

// One slice's elements, pooled along the height for each of `rows` results: V columns of a plane from `column` on,
// downwards from the window's start at `top`.
template <class Schedule, class Geometry, int V, class F>
__device__ __forceinline__ void pool_slice(const F& f, const typename F::Row& row, const PlaneSizes& sizes,
                                           long long plane, int depth, int top, Index column,
                                           float (&found)[V][Schedule::rows]) {
  using Run = WindowRun<Geometry, 1, Schedule::rows>;
  Pack<Element, V> held[Run::span][places(F::INPUTS)];
  const Index slice = static_cast<Index>(depth) * sizes.height;
  TUNER_UNROLL
  for (int j = 0; j < Run::span; j++) {
    if (!Run::reads(j) || static_cast<Index>(top + j) >= sizes.height) continue;
    TUNER_UNROLL
    for (int k = 0; k < F::INPUTS; k++) {
      held[j][k] = load_pack<V, Schedule::streaming>(f.input[k] + plane + (slice + top + j) * sizes.width + column);
    }
  }
  Run run[V];
  TUNER_UNROLL
  for (int v = 0; v < V; v++) run[v].start();
  TUNER_UNROLL
  for (int j = 0; j < Run::span; j++) {
    if (!Run::reads(j) || static_cast<Index>(top + j) >= sizes.height) continue;
    TUNER_UNROLL
    for (int v = 0; v < V; v++) {
      float in[places(F::INPUTS)];
      TUNER_UNROLL
      for (int k = 0; k < F::INPUTS; k++) in[k] = to_float(held[j][k].at[v]);
      run[v].add(j, f.before(row, (slice + top + j) * sizes.width + column + v, in));
    }
  }
  TUNER_UNROLL
  for (int v = 0; v < V; v++) run[v].end(found[v]);
}

// A vector of columns, pooled over depth and height: to partial[(slice * rows + row) * pitch + column].
template <class Schedule, class Geometry, int V, class F>
__device__ __forceinline__ void pool_columns(const F& f, const WindowTask& task, Line line, int column, float* partial,
                                             Index pitch) {
  using Run = WindowRun<Geometry, 0, Schedule::slices>;
  constexpr int rows = Schedule::rows, slices = Schedule::slices;
  constexpr int ahead = slices > 1 || Run::span <= 4 ? Run::span : 1;  // slices whose loads may come together
  const PlaneSizes& sizes = task.sizes;
  const int front = window_start<Geometry, 0>(line.depth), top = window_start<Geometry, 1>(line.height);
  Run run[rows][V];
  TUNER_UNROLL
  for (int r = 0; r < rows; r++) {
    TUNER_UNROLL
    for (int v = 0; v < V; v++) run[r][v].start();
  }
  if (static_cast<Index>(column) < sizes.width) {
    const auto row = f.row(line.plane);
    const long long plane = static_cast<long long>(line.plane) * sizes.depth * (sizes.height * sizes.width);
#pragma unroll ahead
    for (int j = 0; j < Run::span; j++) {
      if (!Run::reads(j) || static_cast<Index>(front + j) >= sizes.depth) continue;
      float here[V][rows];
      pool_slice<Schedule, Geometry, V>(f, row, sizes, plane, front + j, top, column, here);
      TUNER_UNROLL
      for (int r = 0; r < rows; r++) {
        TUNER_UNROLL
        for (int v = 0; v < V; v++) run[r][v].add(j, here[v][r]);
      }
    }
  }
  TUNER_UNROLL
  for (int r = 0; r < rows; r++) {
    float found[V][slices];
    TUNER_UNROLL
    for (int v = 0; v < V; v++) run[r][v].end(found[v]);
    TUNER_UNROLL
    for (int d = 0; d < slices; d++) {
      Pack<float, V> pack;
      TUNER_UNROLL
      for (int v = 0; v < V; v++) pack.at[v] = found[v][d];
      store_pack<V>(partial + (d * rows + r) * pitch, pack);
    }
  }
}

// In place, what was found above each column of `results` rows becomes P results along the width: those of the block's
// thread, whose first is `w` of the part. Every thread of the block calls it, with or without results of its own.
template <class Geometry, int V, int results>
__device__ __forceinline__ void pool_blocked(float* partial, Index pitch, Index w, bool mine) {
  using Width = WindowWidth<Geometry, V>;
  using Run = WindowRun<Geometry, 2, Width::P>;
  constexpr int words = (Width::lead + Run::span + 3) / 4;
  float found[results][Width::P];
  TUNER_UNROLL
  for (int q = 0; q < results; q++) {
    if (!mine) continue;
    Run run;
    run.start();
    TUNER_UNROLL
    for (int word = 0; word < words; word++) {
      const auto four = load_pack<4>(partial + q * pitch + w * Width::Along::stride + word * 4);
      TUNER_UNROLL
      for (int j = 0; j < 4; j++) {
        const int offset = word * 4 + j - Width::lead;
        if (offset >= 0 && offset < Run::span) run.add(offset, four.at[j]);
      }
    }
    run.end(found[q]);
  }
  __syncthreads();
  TUNER_UNROLL
  for (int q = 0; q < results; q++) {
    if (!mine) continue;
    Pack<float, Width::P> pack;
    TUNER_UNROLL
    for (int p = 0; p < Width::P; p++) pack.at[p] = found[q][p];
    store_pack<Width::P>(partial + q * pitch + w, pack);
  }
  __syncthreads();
}

template <class F>
__device__ __forceinline__ void write_pooled(const F& f, const typename F::Row& row, long long plane, Index i,
                                             float pooled) {
  float out[places(F::RESULTS)];
  f.after(row, i, pooled, out);
  TUNER_UNROLL
  for (int k = 0; k < F::RESULTS; k++) f.result[k][plane + i] = to_element(out[k]);
}

// One window of a line, from what was found above each of its columns, the first of which is at partial.
template <class Geometry>
__device__ __forceinline__ float pool_width(const PlaneSizes& sizes, bool padded, int start, const float* partial) {
  using Along = WindowAxis<Geometry, 2>;
  float found = pool_nothing<Geometry>();
  TUNER_UNROLL
  for (int k = 0; k < Along::kernel; k++) {
    const int column = k * Along::dilation;
    if (padded || static_cast<Index>(start + column) < sizes.width) {
      found = pool_both<Geometry>(found, partial[column]);
    }
  }
  return found;
}

template <class Geometry>
__device__ __forceinline__ float pool_finish(const WindowTask& task, Index d, Index h, Index w, float value) {
  constexpr bool mean = Geometry::pool == Pool::mean || Geometry::pool == Pool::mean_valid;
  constexpr float area = WindowAxis<Geometry, 1>::kernel * WindowAxis<Geometry, 2>::kernel;
  if (mean && task.whole) return value * (1.0f / (WindowAxis<Geometry, 0>::kernel * area));
  return pool_end<Geometry>(task.sizes, d, h, w, value);
}

// The results of a line at `w`; those of the first slice and row are found from `partial` on.
template <class Schedule, class Geometry, int V, class F>
__device__ __forceinline__ void write_column(const F& f, const typename F::Row& row, const WindowTask& task, Line line,
                                             Index w, const float* partial, Index pitch) {
  using Width = WindowWidth<Geometry, V>;
  const PlaneSizes& sizes = task.sizes;
  const long long plane = static_cast<long long>(line.plane) * sizes.out_depth * (sizes.out_height * sizes.out_width);
  const int start = window_start<Geometry, 2>(w);
  TUNER_UNROLL
  for (int d = 0; d < Schedule::slices; d++) {
    TUNER_UNROLL
    for (int r = 0; r < Schedule::rows; r++) {
      const float* from = partial + (d * Schedule::rows + r) * pitch;
      const float found = Width::blocked ? *from : pool_width<Geometry>(sizes, Width::padded, start, from);
      const Index z = line.depth + d, y = line.height + r;
      if (z < sizes.out_depth && y < sizes.out_height) {
        write_pooled(f, row, plane, (z * sizes.out_height + y) * sizes.out_width + w,
                     pool_finish<Geometry>(task, z, y, w, found));
      }
    }
  }
}

// Columns that a thread writes, far apart, so that what it finds out of its line serves four results at least.
template <class Schedule>
TUNER_INLINE constexpr int writes_a_thread() {
  return Schedule::rows * Schedule::slices >= 4 ? 1 : 4 / (Schedule::rows * Schedule::slices);
}

template <class Schedule, class Geometry, int V, class F>
__global__ void __launch_bounds__(Schedule::block_size) pool_lines(const F f, const WindowTask task) {
  extern __shared__ float4 scratch[];
  using Width = WindowWidth<Geometry, V>;
  constexpr int results = Schedule::rows * Schedule::slices;
  float* partials = reinterpret_cast<float*>(scratch);  // (lines_a_block, results, pitch)
  const Index pitch = task.vectors * V, group = task.by_parts.quotient(blockIdx.x);
  const Index part = blockIdx.x - group * task.by_parts.divisor, first_line = group * task.lines_a_block;
  const Index lines = min(task.lines_a_block, task.lines - first_line);
  const int first = Width::first_column(task, part);
  {
    const Index mine = task.by_vectors.quotient(threadIdx.x), vector = threadIdx.x - mine * task.vectors;
    if (mine < lines) {
      pool_columns<Schedule, Geometry, V>(f, task, line_at<Schedule>(task, first_line + mine), first + vector * V,
                                          partials + mine * results * pitch + vector * V, pitch);
    }
  }
  __syncthreads();
  if constexpr (Width::blocked) {
    const Index blocks = task.by_blocks.divisor, mine = task.by_blocks.quotient(threadIdx.x);
    pool_blocked<Geometry, V, results>(partials + mine * results * pitch, pitch,
                                       (threadIdx.x - mine * blocks) * Width::P, mine < lines);
  }
  const Index columns = task.by_columns.divisor, beyond = min(task.outs, task.sizes.out_width - part * task.outs);
  for (Index o = threadIdx.x; o < lines * columns; o += blockDim.x) {
    const Index mine = task.by_columns.quotient(o);
    const Line line = line_at<Schedule>(task, first_line + mine);
    const auto row = f.row(line.plane);
    TUNER_UNROLL
    for (int j = 0; j < writes_a_thread<Schedule>(); j++) {
      const Index w = o - mine * columns + j * columns, at = part * task.outs + w;
      if (w >= beyond) continue;
      const int from = Width::blocked ? static_cast<int>(w) : window_start<Geometry, 2>(at) - first;
      write_column<Schedule, Geometry, V>(f, row, task, line, at, partials + mine * results * pitch + from, pitch);
    }
  }
}

// A thread a result, for windows wider than a block's vectors, or too high to be unrolled.
template <class Schedule, class Geometry, class F>
__global__ void __launch_bounds__(Schedule::block_size) pool_one_by_one(const F f, const PlaneSizes sizes,
                                                                        long long rows, WideDivider by_outs) {
  const long long at = static_cast<long long>(blockIdx.x) * Schedule::block_size + threadIdx.x;
  const long long outs = static_cast<long long>(by_outs.divisor), plane = by_outs.quotient(at);
  if (plane >= rows) return;
  const auto row = f.row(static_cast<Index>(plane));
  const long long base = plane * sizes.depth * (sizes.height * sizes.width);
  const Index i = static_cast<Index>(at - plane * outs);
  write_pooled(f, row, plane * outs, i, window_at<Geometry>(sizes, i, [&](Index from) {
                 float in[places(F::INPUTS)];
                 TUNER_UNROLL
                 for (int k = 0; k < F::INPUTS; k++) in[k] = to_float(f.input[k][base + from]);
                 return f.before(row, from, in);
               }));
}

// Whether no window along the axis reaches beyond what its mean counts.
template <class Geometry, int AXIS>
inline bool windows_whole(Index size, Index out) {
  using Along = WindowAxis<Geometry, AXIS>;
  const int beyond = Geometry::pool == Pool::mean_valid ? 0 : Along::padding;
  const long long last = (out - 1LL) * Along::stride - Along::padding + (Along::kernel - 1) * Along::dilation;
  return Along::padding == beyond && last < static_cast<long long>(size) + beyond;
}

// Cuts a line into parts whose vectors fit a block; false where one result alone needs more.
template <class Schedule, class Geometry, int V>
inline bool cut_lines(WindowTask& task) {
  using Width = WindowWidth<Geometry, V>;
  const PlaneSizes& sizes = task.sizes;
  task.outs = sizes.out_width;
  for (Index parts = 2; Width::vectors(sizes, task.outs) > Schedule::block_size; parts++) {
    const Index outs = static_cast<Index>(ceil_div(ceil_div(sizes.out_width, parts), Width::grain) * Width::grain);
    if (outs <= Width::grain && task.outs <= Width::grain) return false;
    task.outs = outs;
  }
  task.parts = static_cast<Index>(ceil_div(sizes.out_width, task.outs));
  task.vectors = Width::vectors(sizes, task.outs), task.lines_a_block = Schedule::block_size / task.vectors;
  task.by_parts = Divider(task.parts), task.by_vectors = Divider(task.vectors);
  task.by_blocks = Divider(static_cast<Index>(ceil_div(task.outs, Width::P)));
  task.by_columns = Divider(static_cast<Index>(ceil_div(task.outs, writes_a_thread<Schedule>())));
  return true;
}

template <class Schedule, class Geometry, int V, class F>
inline int start_windows(const F& f, long long rows, const PlaneSizes& sizes, cudaStream_t stream) {
  constexpr int results = Schedule::rows * Schedule::slices;
  const Index high = static_cast<Index>(ceil_div(sizes.out_height, Schedule::rows));
  const Index deep = static_cast<Index>(ceil_div(sizes.out_depth, Schedule::slices));
  const long long lines = rows * high * deep;
  if (lines > INT_MAX) return cudaErrorInvalidConfiguration;
  constexpr bool unrolls = WindowRun<Geometry, 1, Schedule::rows>::span <= 64 && WindowAxis<Geometry, 2>::kernel <= 64;
  if constexpr (unrolls) {
    WindowTask task{sizes, static_cast<Index>(lines)};
    task.by_lines_high = Divider(high), task.by_lines_deep = Divider(deep);
    task.whole = windows_whole<Geometry, 0>(sizes.depth, sizes.out_depth) &&
                 windows_whole<Geometry, 1>(sizes.height, sizes.out_height) &&
                 windows_whole<Geometry, 2>(sizes.width, sizes.out_width);
    if (cut_lines<Schedule, Geometry, V>(task)) {
      const long long blocks = ceil_div(lines, task.lines_a_block) * task.parts;
      if (blocks > MAX_GRID_X) return cudaErrorInvalidConfiguration;
      const unsigned threads = static_cast<unsigned>(ceil_div(task.lines_a_block * task.vectors, 32) * 32);
      const std::size_t shared = sizeof(float) * V * results * task.vectors * task.lines_a_block;
      const auto kernel = pool_lines<Schedule, Geometry, V, F>;
      if (shared > 48 * 1024) {
        const auto room = cudaFuncAttributeMaxDynamicSharedMemorySize;
        const cudaError_t allowed = cudaFuncSetAttribute(kernel, room, static_cast<int>(shared));
        if (allowed != cudaSuccess) return allowed;
      }
      kernel<<<static_cast<unsigned>(blocks), threads, shared, stream>>>(f, task);
      return cudaGetLastError();
    }
  }
  const long long outs_a_plane = static_cast<long long>(sizes.out_depth) * sizes.out_height * sizes.out_width;
  const long long blocks = ceil_div(rows * outs_a_plane, Schedule::block_size);
  if (blocks > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  pool_one_by_one<Schedule, Geometry><<<static_cast<unsigned>(blocks), Schedule::block_size, 0, stream>>>(
      f, sizes, rows, WideDivider(outs_a_plane));
  return cudaGetLastError();
}

// Planes, and results of a plane, below 2^31.
template <class Schedule, class Geometry, class F>
int launch_windows(const F& f, long long rows, long long depth, long long height, long long width, long long out_depth,
                   long long out_height, long long out_width, void* stream) {
  constexpr int V = Schedule::vector_width;
  static_assert(4 * V * Schedule::block_size * Schedule::rows * Schedule::slices <= 96 * 1024, "fits shared memory");
  if (rows * out_depth * out_height * out_width == 0) return cudaSuccess;
  if (depth * height * width > INT_MAX || out_depth * out_height * out_width > INT_MAX || rows > INT_MAX) {
    return cudaErrorInvalidConfiguration;
  }
  const PlaneSizes sizes{static_cast<Index>(depth),     static_cast<Index>(height),     static_cast<Index>(width),
                         static_cast<Index>(out_depth), static_cast<Index>(out_height), static_cast<Index>(out_width)};
  const auto to = static_cast<cudaStream_t>(stream);
  if (width % V == 0 && inputs_aligned<V>(f)) {
    return start_windows<Schedule, Geometry, V>(f, rows, sizes, to);
  }
  if constexpr (V > 2) {
    if (width % 2 == 0 && inputs_aligned<2>(f)) {
      return start_windows<Schedule, Geometry, 2>(f, rows, sizes, to);
    }
  }
  return start_windows<Schedule, Geometry, 1>(f, rows, sizes, to);
}
