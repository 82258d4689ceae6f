// Rows: rounds of reductions over the innermost axes of a tensor, and maps of what they found. Softmax, LayerNorm,
// GroupNorm, losses, norms of a whole tensor; with segments, a channel of every sample (BatchNorm).
//
// A row is, whichever the schedule asks for and the row's length allows,
//   kept        in the registers of the threads that share it: one read and one write. A row that is too long for one
//               block is kept by a gang of blocks (core/gang.cuh), up to what the device holds.
//   fetched     into shared memory by the same blocks, which already fetch their next row while they are at this one
//   read again  once for each round and for the results, by the threads that share it
//   split       where there are too few rows for the device: each round is a kernel whose blocks leave partial states in
//               the workspace, and the next kernel's blocks start with merging those of their row
// Whatever does not fit falls to the next of these. All give the same bits in every run.
//
// Schedule, with the macros of rows_space.py's knobs as values:
//   block_size, vector_width, reduction
//   threads_per_row  a power of two: up to 32, a block takes several rows; else the block's threads, all of them
//   unroll           vectors a thread has under way, and all that it keeps
//   keep             0 read again, 1 kept, 2 fetched (where threads_per_row is the whole block)
//   split            blocks a multiprocessor among which rows that are too few are split; 0: they never are
//   chunk_mb         0, or how much of split rows one kernel reads before the next one reads it again, from L2
// A functor may say `static constexpr bool SEGMENTED`: whether there are segments, so that only that is compiled.
// The workspace has rows_workspace<F>() bytes; without one (null) rows are neither kept by gangs nor split.
#pragma once
#include <algorithm>
#include <type_traits>

#include "core/copy_groups.cuh"
#include "core/gang.cuh"
#include "core/launch.cuh"
#include "core/reduce.cuh"
#include "families/rounds.cuh"
#include "families/row_share.cuh"

constexpr long long row_slots = 8192;  // partial states of a round, at most
constexpr int gang_limit = 2048;       // gangs
constexpr long long counter_bytes = gang_limit * gang_apart * 4;

// As workspace_bytes of rows_space.py has it.
template <class F>
constexpr long long rows_workspace() {
  return counter_bytes + F::Rounds::COUNT * row_slots * state_bytes<F>;
}

template <class Schedule, class F>
struct RowKernel {
  static constexpr int threads = Schedule::block_size, V = Schedule::vector_width, U = Schedule::unroll;
  static constexpr int sharers = Schedule::threads_per_row <= 32 ? Schedule::threads_per_row : threads;
  static constexpr Reduction how = Schedule::reduction == 0 ? Reduction::shuffle : Reduction::shared;
  // Blocks a multiprocessor that a thread's items and 48 registers more leave room for: they hide each other's waits.
  static constexpr int words = U * V * static_cast<int>(ceil_div(sizeof(typename F::Item), 4)) + 48;
  static constexpr int resident = words * threads > 65536 ? 1 : 65536 / (words * threads);
  static constexpr int scratch_bytes = reduce_scratch(threads, how) * state_bytes<F>;
  // Where kept rows do not fit, they are split all the same, and fewer vectors are under way.
  static constexpr int A = Schedule::keep != 0 && U > 4 ? 4 : U;
  static constexpr int split = Schedule::keep != 0 && Schedule::split == 0 ? 4 : Schedule::split;
  template <int K>
  using State = typename F::Rounds::template State<K>;
};

// Of SHARERS threads, each of which gets the result.
template <class Kernel, int SHARERS, class State>
__device__ __forceinline__ State reduce_share(const State& state, double* scratch) {
  if constexpr (SHARERS <= 32) {
    return warp_reduce<SHARERS>(state, MergeStates());
  } else {
    return block_reduce<SHARERS, Kernel::how>(state, MergeStates(), reinterpret_cast<State*>(scratch));
  }
}

// ---- a row by the threads of one block ----

template <class Schedule, bool SEGMENTED, bool KEPT, class F>
__global__ void __launch_bounds__(Schedule::block_size) rows_alone(const F f, const RowSizes sizes) {
  using Kernel = RowKernel<Schedule, F>;
  constexpr int sharers = Kernel::sharers, V = Kernel::V, U = Kernel::U;
  __shared__ double scratch[sharers > 32 ? Kernel::scratch_bytes / 8 : 1];
  const long long mine = static_cast<long long>(blockIdx.x) * (Kernel::threads / sharers) + threadIdx.x / sharers;
  const bool exists = mine < sizes.rows;
  const Index r = static_cast<Index>(exists ? mine : 0), lane = threadIdx.x % sharers;
  const RowShare<F, V, sharers, SEGMENTED> share(f, sizes, r, 0, exists ? sizes.vectors : 0);
  auto row = f.row(r);
  if constexpr (KEPT) {
    typename F::Item items[U][V];
    share.template load<U, true>(row, lane, items);
    close_rounds<0, F::Rounds::COUNT>(f, row, [&](auto round, const auto& found) {
      using State = typename Kernel::template State<decltype(round)::value>;
      State state = State::identity();
      share.template add<decltype(round)::value>(found, lane, items, state);
      return reduce_share<Kernel, sharers>(state, scratch);
    });
    if constexpr (F::RESULTS > 0) share.write(row, lane, items);
  } else {
    close_rounds<0, F::Rounds::COUNT>(f, row, [&](auto round, const auto& found) {
      using State = typename Kernel::template State<decltype(round)::value>;
      constexpr bool once = decltype(round)::value == F::Rounds::COUNT - 1 && F::RESULTS == 0;
      return reduce_share<Kernel, sharers>(
          share.template read<decltype(round)::value, Kernel::A, once, State>(found, lane), scratch);
    });
    if constexpr (F::RESULTS > 0) share.template rewrite<Kernel::A>(row, lane);
  }
  if (lane == 0 && exists) write_totals(f, row, r);
}

// ---- a row by a gang of blocks ----

template <class Schedule, bool SEGMENTED, class F>
__global__ void __launch_bounds__(Schedule::block_size, RowKernel<Schedule, F>::resident)
    rows_by_gangs(const F f, const RowSizes sizes, const Gangs gangs) {
  using Kernel = RowKernel<Schedule, F>;
  constexpr int threads = Kernel::threads, V = Kernel::V, U = Kernel::U;
  __shared__ double scratch[threads / 32 * state_bytes<F> / 8];
  GangMember me(gangs);
  const Index each = static_cast<Index>(ceil_div(sizes.vectors, gangs.blocks)), begin = me.part * each;
  const Index end = begin + each < sizes.vectors ? begin + each : sizes.vectors;
  for (long long r = me.gang; r < sizes.rows; r += gangs.count) {
    const RowShare<F, V, threads, SEGMENTED> share(f, sizes, static_cast<Index>(r), begin, end);
    auto row = f.row(static_cast<Index>(r));
    typename F::Item items[U][V];
    share.template load<U, true>(row, begin + threadIdx.x, items);
    close_rounds<0, F::Rounds::COUNT>(f, row, [&](auto round, const auto& found) {
      using State = typename Kernel::template State<decltype(round)::value>;
      State state = State::identity();
      share.template add<decltype(round)::value>(found, begin + threadIdx.x, items, state);
      return gang_reduce<threads, state_bytes<F>>(state, State::identity(), MergeStates(),
                                                    reinterpret_cast<State*>(scratch), gangs, me);
    });
    if constexpr (F::RESULTS > 0) share.write(row, begin + threadIdx.x, items);
    if (me.part == 0 && threadIdx.x == 0) write_totals(f, row, static_cast<Index>(r));
  }
}

template <class Schedule, class F>
struct Fetched {
  using Kernel = RowKernel<Schedule, F>;
  static constexpr int vectors = Kernel::U * places(F::INPUTS);  // a thread and row
  static constexpr int stage = vectors * Kernel::threads, bytes = 2 * stage * sizeof(Pack<Element, Kernel::V>);
  static constexpr int by_memory = 232448 / (bytes + 1024), by_registers = 65536 / (40 * Kernel::threads);
  static constexpr int fewer = by_memory < by_registers ? by_memory : by_registers, resident = fewer > 1 ? fewer : 1;
};

extern __shared__ uint4 fetched_rows[];

template <class Schedule, bool SEGMENTED, class F>
__global__ void __launch_bounds__(Schedule::block_size, Fetched<Schedule, F>::resident)
    rows_fetched(const F f, const RowSizes sizes, const Gangs gangs) {
  using Kernel = RowKernel<Schedule, F>;
  constexpr int threads = Kernel::threads, V = Kernel::V, U = Kernel::U, A = U > 4 ? 4 : U;
  using Share = RowShare<F, V, threads, SEGMENTED>;
  __shared__ double scratch[threads / 32 * state_bytes<F> / 8];
  GangMember me(gangs);
  const Index each = static_cast<Index>(ceil_div(sizes.vectors, gangs.blocks)), begin = me.part * each;
  const Index end = begin + each < sizes.vectors ? begin + each : sizes.vectors, q = begin + threadIdx.x;
  auto* mine = reinterpret_cast<Pack<Element, V>*>(fetched_rows) + threadIdx.x;
  int stage = 0;
  Share(f, sizes, me.gang, begin, end).template fetch<U>(q, mine);
  end_copies();
  for (long long r = me.gang; r < sizes.rows; r += gangs.count, stage ^= Fetched<Schedule, F>::stage) {
    const long long next = r + gangs.count;
    if (next < sizes.rows) {
      Share(f, sizes, static_cast<Index>(next), begin, end)
          .template fetch<U>(q, mine + (stage ^ Fetched<Schedule, F>::stage));
    }
    end_copies();
    const Share share(f, sizes, static_cast<Index>(r), begin, end);
    auto row = f.row(static_cast<Index>(r));
    wait_groups<1>();
    close_rounds<0, F::Rounds::COUNT>(f, row, [&](auto round, const auto& found) {
      using State = typename Kernel::template State<decltype(round)::value>;
      State state = State::identity();
      TUNER_UNROLL
      for (int first = 0; first < U; first += A) {
        typename F::Item items[A][V];
        share.template recall<U>(found, q, mine + stage, first, items);
        share.template add<decltype(round)::value>(found, q + first * threads, items, state);
      }
      return gang_reduce<threads, state_bytes<F>>(state, State::identity(), MergeStates(),
                                                  reinterpret_cast<State*>(scratch), gangs, me);
    });
    if constexpr (F::RESULTS > 0) {
      TUNER_UNROLL
      for (int first = 0; first < U; first += A) {
        typename F::Item items[A][V];
        share.template recall<U>(row, q, mine + stage, first, items);
        share.write(row, q + first * threads, items);
      }
    }
    if (me.part == 0 && threadIdx.x == 0) write_totals(f, row, static_cast<Index>(r));
  }
}

// ---- a row by several blocks, a kernel a round ----

struct RowParts {
  long long first_row;
  unsigned parts, writers;  // shares of a row's partial states, and of its results
  char* partial;            // of round, row from the first one on, part
};

// The state of round K of the row, and the results where K counts all rounds.
template <class Schedule, bool SEGMENTED, int K, class F>
__global__ void __launch_bounds__(Schedule::block_size) rows_by_parts(const F f, const RowSizes sizes,
                                                                      const RowParts all) {
  using Kernel = RowKernel<Schedule, F>;
  constexpr int threads = Kernel::threads, V = Kernel::V, U = Kernel::A, bytes = state_bytes<F>;
  constexpr bool last = K == F::Rounds::COUNT;
  __shared__ double scratch[Kernel::scratch_bytes / 8];
  const unsigned shares = last ? all.writers : all.parts, part = blockIdx.x % shares, at = blockIdx.x / shares;
  const Index r = static_cast<Index>(all.first_row + at);
  const auto slot = [&](int round, unsigned of) {
    return all.partial + (round * row_slots + static_cast<long long>(at) * all.parts + of) * bytes;
  };
  auto row = f.row(r);
  close_rounds<0, K>(f, row, [&](auto round, const auto&) {
    using State = typename Kernel::template State<decltype(round)::value>;
    State state = State::identity();
    for (unsigned of = threadIdx.x; of < all.parts; of += threads) {
      state = State::merge(state, *reinterpret_cast<const State*>(slot(decltype(round)::value, of)));
    }
    return reduce_share<Kernel, threads>(state, scratch);
  });
  const Index each = static_cast<Index>(ceil_div(sizes.vectors, shares)), begin = part * each;
  const Index end = begin + each < sizes.vectors ? begin + each : sizes.vectors;
  const RowShare<F, V, threads, SEGMENTED> share(f, sizes, r, begin, end);
  if constexpr (!last) {
    using State = typename Kernel::template State<K>;
    constexpr bool once = K == F::Rounds::COUNT - 1 && F::RESULTS == 0;
    const State state =
        reduce_share<Kernel, threads>(share.template read<K, U, once, State>(row, threadIdx.x), scratch);
    if (threadIdx.x == 0) *reinterpret_cast<State*>(slot(K, part)) = state;
  } else {
    if constexpr (F::RESULTS > 0) share.template rewrite<U>(row, threadIdx.x);
    if (part == 0 && threadIdx.x == 0) write_totals(f, row, r);
  }
}

// ---- which of them ----

template <class F, class = void>
struct MayBe {  // with segments, and without
  static constexpr bool segmented = true, plain = true;
};
template <class F>
struct MayBe<F, std::void_t<decltype(F::SEGMENTED)>> {
  static constexpr bool segmented = F::SEGMENTED, plain = !F::SEGMENTED;
};

// By gangs of blocks as small as can hold a row, and as many as the device holds; -1 where one gang would not fit.
template <class Schedule, class F>
inline int launch_gangs(void (*kernel)(F, RowSizes, Gangs), int bytes, const F& f, const RowSizes& sizes,
                        char* workspace, cudaStream_t stream) {
  using Kernel = RowKernel<Schedule, F>;
  const long long parts = ceil_div(sizes.vectors, Kernel::threads * Kernel::U);
  const long long blocks = std::min(row_slots / 2, resident_blocks(kernel, Kernel::threads, bytes));
  if (parts > blocks || (parts > 1 && workspace == nullptr)) return -1;
  const long long count = std::min({blocks / parts, sizes.rows, parts > 1 ? 1LL * gang_limit : blocks});
  const auto all = static_cast<unsigned>(parts * count);
  const Gangs gangs{reinterpret_cast<unsigned*>(workspace), workspace + counter_bytes, static_cast<unsigned>(parts),
                    static_cast<unsigned>(count)};
  if (parts == 1) {
    kernel<<<all, Kernel::threads, bytes, stream>>>(f, sizes, gangs);
    return cudaGetLastError();
  }
  const cudaError_t code = cudaMemsetAsync(workspace, 0, count * gang_apart * 4, stream);
  if (code != cudaSuccess) return code;
  return launch_together(kernel, all, Kernel::threads, bytes, stream, f, sizes, gangs);
}

// Kernels of the rounds from K on, and of the results.
template <class Schedule, bool SEGMENTED, int K, class F>
inline int launch_parts(const F& f, const RowSizes& sizes, const RowParts& all, long long rows, cudaStream_t stream) {
  constexpr bool last = K == F::Rounds::COUNT;
  const long long blocks = rows * (last ? all.writers : all.parts);
  rows_by_parts<Schedule, SEGMENTED, K>
      <<<static_cast<unsigned>(blocks), Schedule::block_size, 0, stream>>>(f, sizes, all);
  if constexpr (last) {
    return cudaGetLastError();
  } else {
    return launch_parts<Schedule, SEGMENTED, K + 1>(f, sizes, all, rows, stream);
  }
}

template <class Schedule, bool SEGMENTED, class F>
inline int launch_split(const F& f, const RowSizes& sizes, long long row_bytes, long long parts, char* workspace,
                        cudaStream_t stream) {
  const long long chunk_bytes = Schedule::chunk_mb * 1000000LL;
  const long long fit = row_slots / parts, in_chunk = chunk_bytes > 0 ? std::max(1LL, chunk_bytes / row_bytes) : fit;
  const long long chunk = std::min({fit, in_chunk, sizes.rows});
  for (long long first = 0; first < sizes.rows; first += chunk) {
    const unsigned shares = static_cast<unsigned>(parts);
    const RowParts all{first, shares, F::RESULTS > 0 ? shares : 1, workspace + counter_bytes};
    const int code =
        launch_parts<Schedule, SEGMENTED, 0>(f, sizes, all, std::min(chunk, sizes.rows - first), stream);
    if (code != cudaSuccess) return code;
  }
  return cudaSuccess;
}

template <class Schedule, bool SEGMENTED, bool KEPT, class F>
inline int launch_alone(const F& f, const RowSizes& sizes, cudaStream_t stream) {
  using Kernel = RowKernel<Schedule, F>;
  const long long blocks = ceil_div(sizes.rows, Kernel::threads / Kernel::sharers);
  if (blocks > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  rows_alone<Schedule, SEGMENTED, KEPT>
      <<<static_cast<unsigned>(blocks), Kernel::threads, 0, stream>>>(f, sizes);
  return cudaGetLastError();
}

template <class Schedule, bool SEGMENTED, class F>
inline int launch_rows_of(const F& f, const RowSizes& sizes, long long row_bytes, char* workspace,
                          cudaStream_t stream) {
  using Kernel = RowKernel<Schedule, F>;
  if constexpr (Schedule::keep == 1) {
    if (sizes.vectors <= Kernel::sharers * Kernel::U) return launch_alone<Schedule, SEGMENTED, true>(f, sizes, stream);
    if constexpr (Kernel::sharers > 32) {
      const int code = launch_gangs<Schedule>(rows_by_gangs<Schedule, SEGMENTED, F>, 0, f, sizes, workspace, stream);
      if (code != -1) return code;
    }
  }
  if constexpr (Schedule::keep == 2) {
    const auto kernel = rows_fetched<Schedule, SEGMENTED, F>;
    constexpr int bytes = Fetched<Schedule, F>::bytes;
    if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes) == cudaSuccess) {
      const int code = launch_gangs<Schedule>(kernel, bytes, f, sizes, workspace, stream);
      if (code != -1) return code;
    } else {
      cudaGetLastError();  // the device has less shared memory: not an error of this launch
    }
  }
  if (Kernel::split > 0 && workspace != nullptr) {
    const long long chunk_bytes = Schedule::chunk_mb * 1000000LL;
    const long long rows = chunk_bytes > 0 ? std::min(sizes.rows, std::max(1LL, chunk_bytes / row_bytes)) : sizes.rows;
    const long long filling = std::min(row_slots, multiprocessors() * Kernel::split) / rows;
    const long long parts = std::min(filling, ceil_div(sizes.vectors, Kernel::threads * Kernel::A));
    if (parts > 1) return launch_split<Schedule, SEGMENTED>(f, sizes, row_bytes, parts, workspace, stream);
  }
  return launch_alone<Schedule, SEGMENTED, false>(f, sizes, stream);
}

// `length` elements a segment; rows, and elements of a row, below 2^32.
template <class Schedule, class F>
int launch_rows(const F& f, long long segments, long long rows, long long length, void* workspace, void* stream) {
  constexpr long long limit = UINT_MAX - (1 << 20);
  if (segments * rows * length == 0) return cudaSuccess;
  if (rows > limit || segments > limit || segments * length > limit) return cudaErrorInvalidConfiguration;
  const RowSizes sizes = row_sizes<Schedule::vector_width>(f, segments, rows, length);
  const long long row_bytes = segments * length * sizeof(Element) * places(F::INPUTS);
  const auto space = static_cast<char*>(workspace);
  const auto to = static_cast<cudaStream_t>(stream);
  if constexpr (MayBe<F>::plain) {
    if (segments == 1) return launch_rows_of<Schedule, false>(f, sizes, row_bytes, space, to);
  }
  if constexpr (MayBe<F>::segmented) return launch_rows_of<Schedule, true>(f, sizes, row_bytes, space, to);
  return cudaErrorInvalidConfiguration;
}
