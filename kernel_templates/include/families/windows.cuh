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
  Index outs, vectors;   // of one part: results along the width, and vectors that they read, at most
  Index lines_a_block;
  Divider by_parts, by_vectors, by_outs, by_lines_high, by_lines_deep;
};

// Whether one of `results` windows one after the other has an element at `offset` from the first one's start: its
// number there, or -1.
template <class Geometry, int AXIS>
TUNER_INLINE constexpr int window_place(int result, int offset) {
  using Along = WindowAxis<Geometry, AXIS>;
  const int at = offset - result * Along::stride, place = at / Along::dilation;
  return at >= 0 && at % Along::dilation == 0 && place < Along::kernel ? place : -1;
}

template <class Geometry, int AXIS>
TUNER_INLINE constexpr bool window_reads(int results, int offset) {
  for (int r = 0; r < results; r++) {
    if (window_place<Geometry, AXIS>(r, offset) >= 0) return true;
  }
  return false;
}

// Elements from the first window's start to the last one's end.
template <class Geometry, int AXIS>
TUNER_INLINE constexpr int window_span(int results) {
  using Along = WindowAxis<Geometry, AXIS>;
  return (results - 1) * Along::stride + (Along::kernel - 1) * Along::dilation + 1;
}

struct Line {
  Index plane, depth, height;  // the first result's place
};

template <class Schedule>
__device__ __forceinline__ Line line_at(const WindowTask& task, Index line) {
  const Index above = task.by_lines_high.quotient(line), plane = task.by_lines_deep.quotient(above);
  return {plane, (above - plane * task.by_lines_deep.divisor) * Schedule::slices,
          (line - above * task.by_lines_high.divisor) * Schedule::rows};
}

// The first column that a part reads, a vector's start.
template <class Geometry, int V>
__device__ __forceinline__ int first_column(const WindowTask& task, Index part) {
  const int start = window_start<Geometry, 2>(part * task.outs);
  return start < 0 ? 0 : start / V * V;
}

// One slice's elements, pooled along the height for each of `rows` results: V columns of a plane from `column` on,
// downwards from the window's start at `top`.
template <class Schedule, class Geometry, int V, class F>
__device__ __forceinline__ void pool_slice(const F& f, const typename F::Row& row, const PlaneSizes& sizes,
                                           long long plane, int depth, int top, Index column,
                                           float (&found)[Schedule::rows][V]) {
  constexpr int span = window_span<Geometry, 1>(Schedule::rows);
  Pack<Element, V> held[span][places(F::INPUTS)];
  const Index slice = static_cast<Index>(depth) * sizes.height;
  TUNER_UNROLL
  for (int j = 0; j < span; j++) {
    if (!window_reads<Geometry, 1>(Schedule::rows, j) || static_cast<Index>(top + j) >= sizes.height) continue;
    TUNER_UNROLL
    for (int k = 0; k < F::INPUTS; k++) {
      held[j][k] = load_pack<V, Schedule::streaming>(f.input[k] + plane + (slice + top + j) * sizes.width + column);
    }
  }
  TUNER_UNROLL
  for (int r = 0; r < Schedule::rows; r++) {
    TUNER_UNROLL
    for (int v = 0; v < V; v++) found[r][v] = pool_nothing<Geometry>();
  }
  TUNER_UNROLL
  for (int j = 0; j < span; j++) {
    if (!window_reads<Geometry, 1>(Schedule::rows, j)) continue;
    const bool inside = static_cast<Index>(top + j) < sizes.height;
    TUNER_UNROLL
    for (int v = 0; v < V; v++) {
      float in[places(F::INPUTS)];
      TUNER_UNROLL
      for (int k = 0; k < F::INPUTS; k++) in[k] = to_float(held[j][k].at[v]);
      const float mine = f.before(row, (slice + top + j) * sizes.width + column + v, in);
      const float value = inside ? mine : pool_nothing<Geometry>();
      TUNER_UNROLL
      for (int r = 0; r < Schedule::rows; r++) {
        if (window_place<Geometry, 1>(r, j) >= 0) found[r][v] = pool_both<Geometry>(found[r][v], value);
      }
    }
  }
}

// A vector of columns, pooled over depth and height: to partial[(slice * rows + row) * pitch + column].
template <class Schedule, class Geometry, int V, class F>
__device__ __forceinline__ void pool_columns(const F& f, const WindowTask& task, Line line, Index column,
                                             float* partial, Index pitch) {
  constexpr int rows = Schedule::rows, slices = Schedule::slices, span = window_span<Geometry, 0>(slices);
  constexpr int ahead = slices > 1 || span <= 4 ? span : 1;  // slices whose loads the compiler may bring together
  const PlaneSizes& sizes = task.sizes;
  const auto row = f.row(line.plane);
  const long long plane = static_cast<long long>(line.plane) * sizes.depth * (sizes.height * sizes.width);
  const int front = window_start<Geometry, 0>(line.depth), top = window_start<Geometry, 1>(line.height);
  float found[slices][rows][V];
  TUNER_UNROLL
  for (int d = 0; d < slices; d++) {
    TUNER_UNROLL
    for (int r = 0; r < rows; r++) {
      TUNER_UNROLL
      for (int v = 0; v < V; v++) found[d][r][v] = pool_nothing<Geometry>();
    }
  }
#pragma unroll ahead
  for (int j = 0; j < span; j++) {
    if (!window_reads<Geometry, 0>(slices, j) || static_cast<Index>(front + j) >= sizes.depth) continue;
    float here[rows][V];
    pool_slice<Schedule, Geometry, V>(f, row, sizes, plane, front + j, top, column, here);
    TUNER_UNROLL
    for (int d = 0; d < slices; d++) {
      if (window_place<Geometry, 0>(d, j) < 0) continue;
      TUNER_UNROLL
      for (int r = 0; r < rows; r++) {
        TUNER_UNROLL
        for (int v = 0; v < V; v++) found[d][r][v] = pool_both<Geometry>(found[d][r][v], here[r][v]);
      }
    }
  }
  TUNER_UNROLL
  for (int d = 0; d < slices; d++) {
    TUNER_UNROLL
    for (int r = 0; r < rows; r++) {
      Pack<float, V> pack;
      TUNER_UNROLL
      for (int v = 0; v < V; v++) pack.at[v] = found[d][r][v];
      store_pack<V>(partial + (d * rows + r) * pitch, pack);
    }
  }
}

template <class F>
__device__ __forceinline__ void write_pooled(const F& f, const typename F::Row& row, long long plane, Index i,
                                             float pooled) {
  float out[places(F::RESULTS)];
  f.after(row, i, pooled, out);
  TUNER_UNROLL
  for (int k = 0; k < F::RESULTS; k++) f.result[k][plane + i] = to_element(out[k]);
}

// One column of a line's results, from what was found above each column: partial[(slice * rows + row) * pitch + c] is
// of column `first` + c.
template <class Schedule, class Geometry, class F>
__device__ __forceinline__ void pool_widths(const F& f, const PlaneSizes& sizes, Line line, Index w, int first,
                                            const float* partial, Index pitch) {
  const auto row = f.row(line.plane);
  const long long plane = static_cast<long long>(line.plane) * sizes.out_depth * (sizes.out_height * sizes.out_width);
  const int start = window_start<Geometry, 2>(w);
  TUNER_UNROLL
  for (int d = 0; d < Schedule::slices; d++) {
    TUNER_UNROLL
    for (int r = 0; r < Schedule::rows; r++) {
      float found = pool_nothing<Geometry>();
      TUNER_UNROLL
      for (int k = 0; k < WindowAxis<Geometry, 2>::kernel; k++) {
        const int column = start + k * WindowAxis<Geometry, 2>::dilation;
        if (static_cast<Index>(column) < sizes.width) {
          found = pool_both<Geometry>(found, partial[(d * Schedule::rows + r) * pitch + column - first]);
        }
      }
      const Index z = line.depth + d, y = line.height + r;
      if (z < sizes.out_depth && y < sizes.out_height) {
        write_pooled(f, row, plane, (z * sizes.out_height + y) * sizes.out_width + w,
                     pool_end<Geometry>(sizes, z, y, w, found));
      }
    }
  }
}

template <class Schedule, class Geometry, int V, class F>
__global__ void __launch_bounds__(Schedule::block_size) pool_lines(const F f, const WindowTask task) {
  extern __shared__ float4 scratch[];
  constexpr int results = Schedule::rows * Schedule::slices;
  float* partials = reinterpret_cast<float*>(scratch);  // (lines_a_block, results, pitch)
  const Index pitch = task.vectors * V, group = task.by_parts.quotient(blockIdx.x);
  const Index part = blockIdx.x - group * task.by_parts.divisor, first_line = group * task.lines_a_block;
  const int first = first_column<Geometry, V>(task, part);
  {
    const Index mine = task.by_vectors.quotient(threadIdx.x), vector = threadIdx.x - mine * task.vectors;
    const Index column = first + vector * V;
    if (mine < task.lines_a_block && first_line + mine < task.lines && column < task.sizes.width) {
      pool_columns<Schedule, Geometry, V>(f, task, line_at<Schedule>(task, first_line + mine), column,
                                          partials + mine * results * pitch + vector * V, pitch);
    }
  }
  __syncthreads();
  for (Index o = threadIdx.x; o < task.lines_a_block * task.outs; o += blockDim.x) {
    const Index mine = task.by_outs.quotient(o), w = part * task.outs + o - mine * task.outs;
    if (first_line + mine >= task.lines || w >= task.sizes.out_width) continue;
    pool_widths<Schedule, Geometry>(f, task.sizes, line_at<Schedule>(task, first_line + mine), w, first,
                                    partials + mine * results * pitch, pitch);
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

// Vectors that `outs` results along the width read at most, when a line has as many parts as they make.
template <class Geometry>
inline Index window_vectors(const PlaneSizes& sizes, Index outs, int V) {
  const long long span = window_span<Geometry, 2>(1) + (outs - 1LL) * WindowAxis<Geometry, 2>::stride;
  const bool whole = outs >= sizes.out_width;
  const long long read = whole ? span - WindowAxis<Geometry, 2>::padding : span + V - 1;
  return static_cast<Index>(ceil_div(read < sizes.width ? read : sizes.width, V));
}

template <class Schedule, class Geometry, int V, class F>
inline int start_windows(const F& f, long long rows, const PlaneSizes& sizes, cudaStream_t stream) {
  constexpr int most = Schedule::block_size, results = Schedule::rows * Schedule::slices;
  const Index high = static_cast<Index>(ceil_div(sizes.out_height, Schedule::rows));
  const Index deep = static_cast<Index>(ceil_div(sizes.out_depth, Schedule::slices));
  Index parts = 1, outs = sizes.out_width;
  while (window_vectors<Geometry>(sizes, outs, V) > most && outs > 1) {
    parts++, outs = static_cast<Index>(ceil_div(sizes.out_width, parts));
  }
  parts = static_cast<Index>(ceil_div(sizes.out_width, outs));
  const Index vectors = window_vectors<Geometry>(sizes, outs, V);
  constexpr bool unrolls = window_span<Geometry, 1>(Schedule::rows) <= 64 && WindowAxis<Geometry, 2>::kernel <= 64;
  if constexpr (unrolls) {
    if (vectors <= most) {
      const Index lines_a_block = most / vectors;
      const long long lines = rows * high * deep, blocks = ceil_div(lines, lines_a_block) * parts;
      if (lines > INT_MAX || blocks > MAX_GRID_X) return cudaErrorInvalidConfiguration;
      const WindowTask task{sizes, static_cast<Index>(lines), parts, outs, vectors, lines_a_block, Divider(parts),
                            Divider(vectors), Divider(outs), Divider(high), Divider(deep)};
      const unsigned threads = static_cast<unsigned>(ceil_div(lines_a_block * vectors, 32) * 32);
      const std::size_t shared = sizeof(float) * V * results * vectors * lines_a_block;
      pool_lines<Schedule, Geometry, V><<<static_cast<unsigned>(blocks), threads, shared, stream>>>(f, task);
      return cudaGetLastError();
    }
  }
  const long long outs_a_plane = static_cast<long long>(sizes.out_depth) * sizes.out_height * sizes.out_width;
  const long long blocks = ceil_div(rows * outs_a_plane, most);
  if (blocks > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  pool_one_by_one<Schedule, Geometry><<<static_cast<unsigned>(blocks), most, 0, stream>>>(f, sizes, rows,
                                                                                      WideDivider(outs_a_plane));
  return cudaGetLastError();
}

// Planes, and results of a plane, below 2^31.
template <class Schedule, class Geometry, class F>
int launch_windows(const F& f, long long rows, long long depth, long long height, long long width, long long out_depth,
                   long long out_height, long long out_width, void* stream) {
  constexpr int V = Schedule::vector_width;
  static_assert(4 * V * Schedule::block_size * Schedule::rows * Schedule::slices <= 48 * 1024, "fits shared memory");
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
