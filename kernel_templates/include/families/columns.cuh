// Columns: rounds of reductions over an axis that is not the innermost, and maps of what they found. Softmax or a norm
// over the channels of NCHW, sums over dim 1, statistics of channels-last tensors.
//
// A tensor is (outer, length, inner), reduced over length; `rows` here are the outer x inner columns. A block takes a
// tile of columns side by side, vector_width of them a thread, and threads_y threads share each column. Where vectors
// would not be aligned, a thread's columns lie apart instead, so that neighbours still read neighbours.
//   kept        in registers, threads_y * unroll elements of each column: one read and one write
//   read again  once for each round and for the results
//   split       where there are too few columns for the device: each round is a kernel whose blocks leave partial states
//               in the workspace, and the next kernel's blocks start with merging those of their columns
// Whatever does not fit falls to the next of these. All give the same bits in every run.
//
// Schedule, with the macros of columns_space.py's knobs as values:
//   block_size, vector_width
//   threads_y  a power of two, with threads_y <= block_size
//   unroll     elements of a column that a thread has under way, and all that it keeps
//   keep       0 read again, 1 kept
//   split      blocks a multiprocessor among which columns that are too few are split; 0: they never are
// The workspace has columns_workspace<F>() bytes; without one (null) columns are never split.
#pragma once
#include <algorithm>

#include "core/divide.hpp"
#include "core/pack.cuh"
#include "families/rounds.cuh"
#include "numerics/element.hpp"
#include "numerics/monoids.hpp"

struct ColumnSizes {
  long long rows, length, inner;
  WideDivider by_inner;
};

constexpr long long column_slots = 1 << 18;  // partial states of a round, at most

// As workspace_bytes of columns_space.py has it.
template <class F>
constexpr long long columns_workspace() {
  return F::Rounds::COUNT * column_slots * state_bytes<F>;
}

template <class Schedule, class F>
struct ColumnKernel {
  static constexpr int threads = Schedule::block_size, W = Schedule::vector_width, U = Schedule::unroll;
  static constexpr int deep = Schedule::threads_y, wide = threads / deep, tile = wide * W;
  static constexpr int A = Schedule::keep != 0 && U > 4 ? 4 : U;  // where kept columns do not fit
  // Columns of a thread that are merged at once, as many as shared memory has room for.
  static constexpr int at_once = threads * W * state_bytes<F> <= 32768 ? W : 1;
  static constexpr int scratch_bytes = deep > 1 ? threads * at_once * state_bytes<F> : 8;
  template <int K>
  using State = typename F::Rounds::template State<K>;
};

// A thread's W columns of a tile, and its share of the positions [begin, end).
template <class Kernel, bool VECTOR, class F>
struct ColumnShare {
  using Row = typename F::Row;
  using Item = typename F::Item;
  static constexpr int W = Kernel::W, deep = Kernel::deep, wide = Kernel::wide;
  const F& f;
  const ColumnSizes& sizes;
  int x, y;
  Index begin, end;
  Index r[W];           // a column that does not exist is read as the last one, and not written
  bool exists[W];
  long long start[VECTOR ? 1 : W];  // where position 0 of a column lies

  __device__ ColumnShare(const F& functor, const ColumnSizes& of, long long tile, Index first, Index last)
      : f(functor), sizes(of), x(threadIdx.x % wide), y(threadIdx.x / wide), begin(first), end(last) {
    TUNER_UNROLL
    for (int w = 0; w < W; w++) {
      const long long at = tile * Kernel::tile + (VECTOR ? x * W + w : w * wide + x);
      exists[w] = at < sizes.rows;
      r[w] = static_cast<Index>(exists[w] ? at : VECTOR ? sizes.rows - W + w : sizes.rows - 1);
      if (!VECTOR || w == 0) {
        const long long before = sizes.by_inner.quotient(r[w]);
        start[w] = before * sizes.length * sizes.inner + (r[w] - before * sizes.inner);
      }
    }
  }

  __device__ __forceinline__ void read_rows(Row (&rows)[W]) const {
    TUNER_UNROLL
    for (int w = 0; w < W; w++) rows[w] = f.row(r[w]);
  }

  // Of positions i, i + deep, ...: how many of U exist.
  template <int U>
  __device__ __forceinline__ int present(Index i) const {
    return i >= end ? 0 : (end - 1 - i) / deep + 1 < U ? static_cast<int>((end - 1 - i) / deep + 1) : U;
  }

  template <bool ONCE>
  __device__ __forceinline__ void load_one(Index i, Pack<Element, W> (&held)[places(F::INPUTS)]) const {
    TUNER_UNROLL
    for (int k = 0; k < F::INPUTS; k++) {
      const Element* p = f.input[k] + i * sizes.inner;
      if constexpr (VECTOR) {
        held[k] = load_pack<W, ONCE>(p + start[0]);
      } else {
        TUNER_UNROLL
        for (int w = 0; w < W; w++) held[k].at[w] = load_pack<1, ONCE>(p + start[w]).at[0];
      }
    }
  }

  template <int U, bool ONCE>
  __device__ __forceinline__ void load(const Row (&rows)[W], Index i, Item (&items)[U][W]) const {
    Pack<Element, W> held[U][places(F::INPUTS)];
    const int count = present<U>(i);
    if (count == U) {
      TUNER_UNROLL
      for (int u = 0; u < U; u++) load_one<ONCE>(i + u * deep, held[u]);
    } else {
      TUNER_UNROLL
      for (int u = 0; u < U; u++) {
        if (u < count) load_one<ONCE>(i + u * deep, held[u]);
      }
    }
    TUNER_UNROLL
    for (int u = 0; u < U; u++) {
      if (u < count) {
        TUNER_UNROLL
        for (int w = 0; w < W; w++) {
          float in[places(F::INPUTS)];
          TUNER_UNROLL
          for (int k = 0; k < F::INPUTS; k++) in[k] = to_float(held[u][k].at[w]);
          items[u][w] = f.item(rows[w], i + u * deep, in);
        }
      }
    }
  }

  template <int K, int U, class State>
  __device__ __forceinline__ void add(const Row (&rows)[W], Index i, const Item (&items)[U][W],
                                      State (&state)[W]) const {
    const int count = present<U>(i);
    TUNER_UNROLL
    for (int w = 0; w < W; w++) {
      if (count == U) {
        typename State::Value v[U];
        TUNER_UNROLL
        for (int u = 0; u < U; u++) v[u] = f.lift(Round<K>(), rows[w], i + u * deep, items[u][w]);
        state[w].add(v, i, deep);
        continue;
      }
      TUNER_UNROLL
      for (int u = 0; u < U; u++) {
        if (u < count) {
          const typename State::Value v[1] = {f.lift(Round<K>(), rows[w], i + u * deep, items[u][w])};
          state[w].add(v, i + u * deep, 1);
        }
      }
    }
  }

  template <int U>
  __device__ __forceinline__ void write(const Row (&rows)[W], Index i, const Item (&items)[U][W]) const {
    const int count = present<U>(i);
    TUNER_UNROLL
    for (int u = 0; u < U; u++) {
      if (u >= count) break;
      Pack<Element, W> made[places(F::RESULTS)];
      TUNER_UNROLL
      for (int w = 0; w < W; w++) {
        float out[places(F::RESULTS)];
        f.results(rows[w], i + u * deep, items[u][w], out);
        TUNER_UNROLL
        for (int k = 0; k < F::RESULTS; k++) made[k].at[w] = to_element(out[k]);
      }
      TUNER_UNROLL
      for (int k = 0; k < F::RESULTS; k++) {
        Element* p = f.result[k] + (i + u * deep) * sizes.inner;
        if constexpr (VECTOR) {
          if (exists[0]) store_pack<W, true>(p + start[0], made[k]);
        } else {
          TUNER_UNROLL
          for (int w = 0; w < W; w++) {
            if (exists[w]) p[start[w]] = made[k].at[w];
          }
        }
      }
    }
  }

  template <int K, int U, bool ONCE, class State>
  __device__ __forceinline__ void read(const Row (&rows)[W], State (&state)[W]) const {
    TUNER_UNROLL
    for (int w = 0; w < W; w++) state[w] = State::identity();
    for (Index i = begin + y; i < end; i += U * deep) {
      Item items[U][W];
      load<U, ONCE>(rows, i, items);
      add<K>(rows, i, items, state);
    }
  }

  template <int U>
  __device__ __forceinline__ void rewrite(const Row (&rows)[W]) const {
    for (Index i = begin + y; i < end; i += U * deep) {
      Item items[U][W];
      load<U, true>(rows, i, items);
      write(rows, i, items);
    }
  }

  // Of the threads that share a column, each of which gets the result; all of the block must call it.
  template <class State>
  __device__ __forceinline__ void merge(State (&state)[W], double* shared) const {
    if constexpr (deep > 1) {
      constexpr int at_once = Kernel::at_once, apart = deep * wide;
      State* scratch = reinterpret_cast<State*>(shared);
      TUNER_UNROLL
      for (int first = 0; first < W; first += at_once) {
        TUNER_UNROLL
        for (int w = 0; w < at_once; w++) scratch[w * apart + y * wide + x] = state[first + w];
        __syncthreads();
        for (int w = y; w < at_once; w += deep) {
          State all = scratch[w * apart + x];
          for (int other = 1; other < deep; other++) all = State::merge(all, scratch[w * apart + other * wide + x]);
          scratch[w * apart + x] = all;
        }
        __syncthreads();
        TUNER_UNROLL
        for (int w = 0; w < at_once; w++) state[first + w] = scratch[w * apart + x];
        __syncthreads();
      }
    }
  }

  __device__ __forceinline__ void write_all_totals(const Row (&rows)[W]) const {
    TUNER_UNROLL
    for (int w = 0; w < W; w++) {
      if (y == 0 && exists[w]) write_totals(f, rows[w], r[w]);
    }
  }
};

// Closes the rounds [K, END) of W columns: `find(std::integral_constant<int, K>, rows, states)` finds their states.
template <int K, int END, int W, class F, class Find>
__device__ __forceinline__ void close_columns(const F& f, typename F::Row (&rows)[W], const Find& find) {
  if constexpr (K < END) {
    typename F::Rounds::template State<K> state[W];
    find(std::integral_constant<int, K>(), rows, state);
    TUNER_UNROLL
    for (int w = 0; w < W; w++) f.close(Round<K>(), rows[w], state[w]);
    close_columns<K + 1, END>(f, rows, find);
  }
}

template <class Schedule, bool VECTOR, bool KEPT, class F>
__global__ void __launch_bounds__(Schedule::block_size) columns_alone(const F f, const ColumnSizes sizes) {
  using Kernel = ColumnKernel<Schedule, F>;
  constexpr int W = Kernel::W, U = Kernel::U, rounds = F::Rounds::COUNT;
  __shared__ double scratch[Kernel::scratch_bytes / 8];
  const ColumnShare<Kernel, VECTOR, F> share(f, sizes, blockIdx.x, 0, static_cast<Index>(sizes.length));
  typename F::Row rows[W];
  share.read_rows(rows);
  if constexpr (KEPT) {
    typename F::Item items[U][W];
    share.template load<U, true>(rows, share.y, items);
    close_columns<0, rounds>(f, rows, [&](auto round, const auto& found, auto& state) {
      TUNER_UNROLL
      for (int w = 0; w < W; w++) state[w] = Kernel::template State<decltype(round)::value>::identity();
      share.template add<decltype(round)::value>(found, share.y, items, state);
      share.merge(state, scratch);
    });
    if constexpr (F::RESULTS > 0) share.write(rows, share.y, items);
  } else {
    close_columns<0, rounds>(f, rows, [&](auto round, const auto& found, auto& state) {
      constexpr bool once = decltype(round)::value == rounds - 1 && F::RESULTS == 0;
      share.template read<decltype(round)::value, Kernel::A, once>(found, state);
      share.merge(state, scratch);
    });
    if constexpr (F::RESULTS > 0) share.template rewrite<Kernel::A>(rows);
  }
  share.write_all_totals(rows);
}

// ---- columns by several blocks, a kernel a round ----

struct ColumnParts {
  unsigned parts, writers;  // shares of a column's partial states, and of its results
  char* partial;            // of round, part, column
};

// The states of round K, and the results where K counts all rounds.
template <class Schedule, bool VECTOR, int K, class F>
__global__ void __launch_bounds__(Schedule::block_size) columns_by_parts(const F f, const ColumnSizes sizes,
                                                                         const ColumnParts all) {
  using Kernel = ColumnKernel<Schedule, F>;
  constexpr int W = Kernel::W, U = Kernel::A, rounds = F::Rounds::COUNT, bytes = state_bytes<F>;
  __shared__ double scratch[Kernel::scratch_bytes / 8];
  const unsigned shares = K == rounds ? all.writers : all.parts, part = blockIdx.x % shares;
  const Index each = static_cast<Index>(ceil_div(sizes.length, shares)), begin = part * each;
  const Index end = begin + each < sizes.length ? begin + each : static_cast<Index>(sizes.length);
  const ColumnShare<Kernel, VECTOR, F> share(f, sizes, blockIdx.x / shares, begin, end);
  const auto slot = [&](int round, unsigned of, Index r) {
    return all.partial + (round * column_slots + of * sizes.rows + r) * bytes;
  };
  typename F::Row rows[W];
  share.read_rows(rows);
  close_columns<0, K>(f, rows, [&](auto round, const auto&, auto& state) {
    using State = typename Kernel::template State<decltype(round)::value>;
    TUNER_UNROLL
    for (int w = 0; w < W; w++) {
      state[w] = State::identity();
      for (unsigned of = share.y; of < all.parts; of += Kernel::deep) {
        state[w] = State::merge(state[w], *reinterpret_cast<const State*>(slot(decltype(round)::value, of, share.r[w])));
      }
    }
    share.merge(state, scratch);
  });
  if constexpr (K < rounds) {
    using State = typename Kernel::template State<K>;
    constexpr bool once = K == rounds - 1 && F::RESULTS == 0;
    State state[W];
    share.template read<K, U, once>(rows, state);
    share.merge(state, scratch);
    TUNER_UNROLL
    for (int w = 0; w < W; w++) {
      if (share.y == 0 && share.exists[w]) *reinterpret_cast<State*>(slot(K, part, share.r[w])) = state[w];
    }
  } else {
    if constexpr (F::RESULTS > 0) share.template rewrite<U>(rows);
    if (part == 0) share.write_all_totals(rows);
  }
}

// ---- which of them ----

template <class Schedule, bool VECTOR, int K, class F>
inline int launch_column_parts(const F& f, const ColumnSizes& sizes, const ColumnParts& all, cudaStream_t stream) {
  constexpr bool last = K == F::Rounds::COUNT;
  const long long blocks = ceil_div(sizes.rows, ColumnKernel<Schedule, F>::tile) * (last ? all.writers : all.parts);
  columns_by_parts<Schedule, VECTOR, K>
      <<<static_cast<unsigned>(blocks), Schedule::block_size, 0, stream>>>(f, sizes, all);
  if constexpr (last) {
    return cudaGetLastError();
  } else {
    return launch_column_parts<Schedule, VECTOR, K + 1>(f, sizes, all, stream);
  }
}

template <class Schedule, bool VECTOR, class F>
inline int launch_columns_of(const F& f, const ColumnSizes& sizes, char* workspace, cudaStream_t stream) {
  using Kernel = ColumnKernel<Schedule, F>;
  const long long tiles = ceil_div(sizes.rows, Kernel::tile);
  if (tiles > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  const auto blocks = static_cast<unsigned>(tiles);
  if constexpr (Schedule::keep != 0) {
    if (sizes.length <= Kernel::deep * Kernel::U) {
      columns_alone<Schedule, VECTOR, true><<<blocks, Kernel::threads, 0, stream>>>(f, sizes);
      return cudaGetLastError();
    }
  }
  if (Schedule::split > 0 && workspace != nullptr) {
    const long long filling = multiprocessors() * Schedule::split / tiles;
    const long long parts =
        std::min({filling, column_slots / sizes.rows, ceil_div(sizes.length, Kernel::deep * Kernel::A)});
    if (parts > 1) {
      const unsigned shares = static_cast<unsigned>(parts);
      const ColumnParts all{shares, F::RESULTS > 0 ? shares : 1, workspace};
      return launch_column_parts<Schedule, VECTOR, 0>(f, sizes, all, stream);
    }
  }
  columns_alone<Schedule, VECTOR, false><<<blocks, Kernel::threads, 0, stream>>>(f, sizes);
  return cudaGetLastError();
}

// outer * inner and length below 2^32.
template <class Schedule, class F>
int launch_columns(const F& f, long long outer, long long length, long long inner, void* workspace, void* stream) {
  constexpr int W = Schedule::vector_width;
  constexpr long long limit = UINT_MAX - (1 << 20);
  const long long rows = outer * inner;
  if (rows * length == 0) return cudaSuccess;
  if (rows > limit || length > limit) return cudaErrorInvalidConfiguration;
  const ColumnSizes sizes{rows, length, inner, WideDivider(static_cast<unsigned long long>(inner))};
  bool aligned = inner % W == 0;
  for (int k = 0; k < F::INPUTS; k++) aligned = aligned && is_aligned<Element, W>(f.input[k]);
  for (int k = 0; k < F::RESULTS; k++) aligned = aligned && is_aligned<Element, W>(f.result[k]);
  const auto space = static_cast<char*>(workspace);
  const auto to = static_cast<cudaStream_t>(stream);
  if (aligned) return launch_columns_of<Schedule, true>(f, sizes, space, to);
  return launch_columns_of<Schedule, false>(f, sizes, space, to);
}
