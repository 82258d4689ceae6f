// Mean and sum of squared deviations of every channel of every sample, from one read of a tensor of positions, each
// value taken through an elementwise map on the way; then what the including source makes of them, sample by sample.
//
// First kernel: each block adds up slices of channels. What a thread has in flight is a chunk: condensed in float about
// its own first value and mean, so that neither a common offset nor an outlier elsewhere costs it any bits, and added
// in double about the channel's pivot, its first value. Then, in a second kernel or in the sample's last block, the
// source's `finish` turns the sample's sums into its result. The second kernel may be launched over the end of the
// first: its blocks start as multiprocessors fall free, bring the pivots into L2 and wait there for the sums.
//
// `launch_channel_sums<Task>` takes a Task derived from ChannelSums with
//   Map map(channel)               a callable float -> float, on the elements of y
//   double late(channel)           what is added to the channel's mean afterwards
//   void finish(sample, scratch)   called by every thread of one block; scratch: reduce_scratch() doubles
//
// Knobs, defined ahead by the source: BLOCK_SIZE, UNROLL (vectors in flight), VECTOR_WIDTH, REDUCTION (SHUFFLE,
// SHARED), BLOCKS_PER_GROUP, FINISH (KERNEL, OVERLAP, LAST_BLOCK), ORDER (FORWARD, BACKWARD), MEMORY_FORMAT
// (CONTIGUOUS, CHANNELS_LAST).
#pragma once
#include "core/launch.cuh"
#include "core/reduce.cuh"
#include "core/vector.cuh"
#include "numerics/activation.cuh"
#include "numerics/moments.cuh"

constexpr Reduction REDUCE = REDUCTION == REDUCTION_SHUFFLE ? Reduction::shuffle : Reduction::shared;
constexpr bool CHANNELS_LAST = MEMORY_FORMAT == MEMORY_FORMAT_CHANNELS_LAST;
constexpr bool BY_LAST_BLOCK = FINISH == FINISH_LAST_BLOCK, OVERLAP = FINISH == FINISH_OVERLAP;

struct ChannelSums {
  const float* y;      // (n, c, s), or (n, s, c) when channels-last
  PivotSums* partial;  // (n, c, slices)
  int* arrived;        // (n), zero; null unless the last block finishes
  long long n, c, s, g, slices;  // g groups of channels
  double share = 1.0 / s;

  __device__ long long slice_length() const { return ceil_div(ceil_div(s, slices), 32) * 32; }
};

__device__ __forceinline__ const float* first_value(const ChannelSums& p, long long sample, long long channel) {
  return p.y + (CHANNELS_LAST ? sample * p.s * p.c + channel : (sample * p.c + channel) * p.s);
}

template <class Task>
__device__ __forceinline__ float pivot(const Task& p, long long sample, long long channel) {
  return p.map(channel)(__ldg(first_value(p, sample, channel)));
}

__device__ long long block_number() {
  return ORDER == ORDER_BACKWARD ? gridDim.x - 1 - blockIdx.x : blockIdx.x;
}

// ---- finishing a sample, by one block ----

struct MeanVariance {
  double mean, variance;
};

template <class Task>
__device__ MeanVariance read_channel(const Task& p, long long sample, long long channel) {
  // Other blocks of this launch may have written these: read them from L2, past this multiprocessor's L1.
  const double2* from = reinterpret_cast<const double2*>(p.partial + (sample * p.c + channel) * p.slices);
  PivotSums sums{0.0, 0.0};
  for (long long i = 0; i < p.slices; i++) {
    const double2 part = __ldcg(from + i);
    sums = sums + PivotSums{part.x, part.y};
  }
  const double step = sums.sum * p.share, variance = sums.square * p.share - step * step;
  return {pivot(p, sample, channel) + p.late(channel) + step, variance < 0.0 ? 0.0 : variance};  // may round below 0; NaN stays
}

// Calls use(channel, centred, rstd) once for every channel of the sample, each from one thread: its mean less its
// group's, and one over its group's standard deviation.
template <class Task, class Use>
__device__ void for_each_channel(const Task& p, long long sample, double eps, Use use) {
  const int channels = static_cast<int>(p.c / p.g), groups = static_cast<int>(p.g);
  // A run of `width` lanes takes a group.
  int width = 1;
  while (width < channels && width < 32) width *= 2;
  const int lane = threadIdx.x % width;
  for (int first = 0; first < groups; first += BLOCK_SIZE / width) {
    const int group = first + threadIdx.x / width;
    const int begin = group * channels, end = group < groups ? begin + channels : begin, mine = begin + lane;
    // Mostly a lane's only channel: kept, so that its sums are fetched once.
    const MeanVariance kept = mine < end ? read_channel(p, sample, mine) : MeanVariance{};
    const auto at = [&](int c) { return c == mine ? kept : read_channel(p, sample, c); };
    double mean = 0.0;
    for (int c = mine; c < end; c += width) mean += at(c).mean;
    mean = run_reduce(mean, Sum{}, width) / channels;
    double variance = 0.0;
    for (int c = mine; c < end; c += width) {
      const MeanVariance channel = at(c);
      variance += channel.variance + (channel.mean - mean) * (channel.mean - mean);
    }
    const double rstd = rsqrt(run_reduce(variance, Sum{}, width) / channels + eps);
    for (int c = mine; c < end; c += width) use(c, at(c).mean - mean, rstd);
  }
}

// Called by every thread once the block's partial sums are stored.
template <class Task>
__device__ void finish_if_last(const Task& p, long long sample, long long blocks, double* scratch) {
  __shared__ bool last;
  __threadfence();  // the stores above are visible before the arrival is
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(p.arrived + sample, 1) == blocks - 1;
  __syncthreads();
  if (last) {
    __threadfence();
    p.finish(sample, scratch);
  }
}

#if FINISH != FINISH_LAST_BLOCK
template <class Task>
__global__ void __launch_bounds__(BLOCK_SIZE) finish_samples(const Task p) {
  __shared__ double scratch[reduce_scratch(BLOCK_SIZE, REDUCE)];
  if constexpr (OVERLAP) {
    for (long long channel = threadIdx.x; channel < p.c; channel += BLOCK_SIZE) {
      asm volatile("prefetch.global.L2 [%0];" ::"l"(first_value(p, blockIdx.x, channel)));
    }
    wait_for_previous();
  }
  p.finish(blockIdx.x, scratch);
}
#endif

#if MEMORY_FORMAT == MEMORY_FORMAT_CONTIGUOUS
// ---- sums of the channels: a channel's values lie side by side ----

// Adds the UNROLL vectors body[first], body[first + BLOCK_SIZE], ...; those from `vectors` on do not exist.
template <int V, bool WHOLE, class Map>
__device__ __forceinline__ void add_vectors(PivotSums& total, const float* body, long long first, long long vectors,
                                            Map map, double pivot) {
  const int present = WHOLE ? UNROLL : static_cast<int>((vectors - 1 - first) / BLOCK_SIZE) + 1;
  Vector<V> v[UNROLL];
#pragma unroll
  for (int j = 0; j < UNROLL; j++) {
    if (WHOLE || j < present) v[j] = load_once<V>(body + (first + j * BLOCK_SIZE) * V);
  }
  const float about = map(v[0].at[0]);
  float sums[V] = {};
#pragma unroll
  for (int j = 0; j < UNROLL; j++) {
    if (WHOLE || j < present) {
#pragma unroll
      for (int k = 0; k < V; k++) sums[k] += v[j].at[k] = map(v[j].at[k]) - about;
    }
  }
  float sum = sums[0];
#pragma unroll
  for (int k = 1; k < V; k++) sum += sums[k];
  const double count = WHOLE ? UNROLL * V : present * V, per_count = 1.0 / count;
  const float mean = sum * static_cast<float>(per_count);
  float squares[V] = {};
#pragma unroll
  for (int j = 0; j < UNROLL; j++) {
    if (WHOLE || j < present) {
#pragma unroll
      for (int k = 0; k < V; k++) {
        const float d = v[j].at[k] - mean;
        squares[k] += d * d;
      }
    }
  }
  float m2 = squares[0];
#pragma unroll
  for (int k = 1; k < V; k++) m2 += squares[k];
  add_chunk(total, sum + count * (about - pivot), m2, per_count);
}

// This thread's share of values[0, count).
template <int V, class Map>
__device__ PivotSums sum_values(const float* values, long long count, Map map, double pivot) {
  PivotSums total{0.0, 0.0};
  const int head = unaligned_head<V>(values, count);
  const long long vectors = (count - head) / V;
  const int single = static_cast<int>(count - vectors * V);  // head and tail together, fewer than 2 * V
  if (threadIdx.x < single) {
    const long long i = threadIdx.x < head ? threadIdx.x : vectors * V + threadIdx.x;
    add_chunk(total, map(values[i]) - pivot, 0.0, 1.0);
  }
  const float* body = values + head;
  for (long long first = threadIdx.x; first < vectors; first += UNROLL * BLOCK_SIZE) {
    if (first + (UNROLL - 1) * BLOCK_SIZE < vectors) {
      add_vectors<V, true>(total, body, first, vectors, map, pivot);
    } else {
      add_vectors<V, false>(total, body, first, vectors, map, pivot);
    }
  }
  return total;
}

// A group's channels times slices are dealt out to its BLOCKS_PER_GROUP blocks.
template <class Task>
__global__ void __launch_bounds__(BLOCK_SIZE) sum_channels(const Task p) {
  __shared__ PivotSums scratch[reduce_scratch(BLOCK_SIZE, REDUCE)];
  if constexpr (OVERLAP) let_next_start();
  const long long block = block_number(), group = block / BLOCKS_PER_GROUP;  // group: sample * g + group
  const long long channels = p.c / p.g, length = p.slice_length(), sample = group / p.g;
  for (long long task = block % BLOCKS_PER_GROUP; task < channels * p.slices; task += BLOCKS_PER_GROUP) {
    const long long row = group * channels + task / p.slices, slice = task % p.slices, channel = row - sample * p.c;
    const long long begin = min(p.s, slice * length), end = min(p.s, begin + length);
    PivotSums sums = sum_values<VECTOR_WIDTH>(p.y + row * p.s + begin, end - begin, p.map(channel),
                                              pivot(p, sample, channel));
    sums = block_reduce<BLOCK_SIZE, REDUCE>(sums, Sum{}, scratch);
    if (threadIdx.x == 0) p.partial[row * p.slices + slice] = sums;
  }
  if constexpr (BY_LAST_BLOCK) {
    finish_if_last(p, sample, p.g * BLOCKS_PER_GROUP, reinterpret_cast<double*>(scratch));
  }
}

template <class Task>
static cudaError_t sum(const Task& p, cudaStream_t on) {
  const long long blocks = p.n * p.g * BLOCKS_PER_GROUP;
  if (blocks > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  sum_channels<<<static_cast<unsigned>(blocks), BLOCK_SIZE, 0, on>>>(p);
  return cudaGetLastError();
}

#else
// ---- sums of the channels: a position's channels lie side by side ----

// Threads of a block as rows of positions by columns of channel vectors.
struct Tiling {
  int columns, rows;
  long long tiles;  // of columns, to cover all channels
};

template <int V>
__host__ __device__ Tiling tiling(long long c) {
  const long long vectors = c / V;
  const int columns = static_cast<int>(vectors < BLOCK_SIZE ? vectors : BLOCK_SIZE);
  return {columns, BLOCK_SIZE / columns, ceil_div(vectors, columns)};
}

// Adds UNROLL positions, `stride` floats apart, to V channels; only the first `present` exist.
template <int V, bool WHOLE, class Task>
__device__ __forceinline__ void add_positions(PivotSums (&total)[V], const Task& p, const float* from, long long stride,
                                              int present, long long channel, const float (&pivots)[V]) {
  Vector<V> v[UNROLL];
#pragma unroll
  for (int j = 0; j < UNROLL; j++) {
    if (WHOLE || j < present) v[j] = load_once<V>(from + j * stride);
  }
  const double count = WHOLE ? UNROLL : present, per_count = 1.0 / count;
#pragma unroll
  for (int k = 0; k < V; k++) {
    const auto map = p.map(channel + k);
    const float about = map(v[0].at[k]);
    float sum = 0.0f, m2 = 0.0f;
#pragma unroll
    for (int j = 0; j < UNROLL; j++) {
      if (WHOLE || j < present) sum += v[j].at[k] = map(v[j].at[k]) - about;
    }
    const float mean = sum * static_cast<float>(per_count);
#pragma unroll
    for (int j = 0; j < UNROLL; j++) {
      if (WHOLE || j < present) m2 += (v[j].at[k] - mean) * (v[j].at[k] - mean);
    }
    add_chunk(total[k], sum + count * (static_cast<double>(about) - pivots[k]), m2, per_count);
  }
}

// stage[row * columns + column] summed over the rows; called by every thread.
// The sum of a column is stored at out[column * step] for each column below `wanted`.
__device__ void sum_rows(PivotSums* stage, int columns, int rows, int wanted, PivotSums* out, long long step) {
  if constexpr (REDUCE == Reduction::shuffle) {
    const int lane = threadIdx.x % 32;
    for (int column = threadIdx.x / 32; column < wanted; column += BLOCK_SIZE / 32) {
      PivotSums sum{0.0, 0.0};
      for (int row = lane; row < rows; row += 32) sum = sum + stage[row * columns + column];
      sum = warp_reduce(sum, Sum{});
      if (lane == 0) out[column * step] = sum;
    }
  } else {
    const int row = threadIdx.x / columns;
    int half = 1;
    while (half * 2 < rows) half *= 2;
    for (; half > 0; half /= 2) {
      if (row < half && row + half < rows) {
        stage[threadIdx.x] = stage[threadIdx.x] + stage[threadIdx.x + half * columns];
      }
      __syncthreads();
    }
    if (threadIdx.x < wanted) out[threadIdx.x * step] = stage[threadIdx.x];
  }
}

// A block takes one slice of a sample's positions and one tile of its channels.
template <int V, class Task>
__global__ void __launch_bounds__(BLOCK_SIZE) sum_channels_last(const Task p) {
  __shared__ PivotSums stage[BLOCK_SIZE];
  if constexpr (OVERLAP) let_next_start();
  const Tiling t = tiling<V>(p.c);
  const long long block = block_number(), tile = block % t.tiles, slice = block / t.tiles % p.slices;
  const long long sample = block / t.tiles / p.slices;
  const int column = threadIdx.x % t.columns, row = threadIdx.x / t.columns;
  const long long first_channel = tile * t.columns * V, channel = first_channel + column * V;
  const long long length = p.slice_length(), begin = slice * length, end = min(p.s, begin + length);

  PivotSums total[V] = {};
  if (row < t.rows && channel < p.c) {
    const float* sample_y = p.y + sample * p.s * p.c + channel;
    float pivots[V];
#pragma unroll
    for (int k = 0; k < V; k++) pivots[k] = pivot(p, sample, channel + k);
    const long long stride = t.rows * p.c;
    for (long long at = begin + row; at < end; at += UNROLL * t.rows) {
      if (at + (UNROLL - 1) * t.rows < end) {
        add_positions<V, true>(total, p, sample_y + at * p.c, stride, UNROLL, channel, pivots);
      } else {
        const int present = static_cast<int>((end - 1 - at) / t.rows) + 1;
        add_positions<V, false>(total, p, sample_y + at * p.c, stride, present, channel, pivots);
      }
    }
  }
  const int wanted = static_cast<int>(min(static_cast<long long>(t.columns), (p.c - first_channel) / V));
#pragma unroll
  for (int k = 0; k < V; k++) {
    stage[threadIdx.x] = total[k];
    __syncthreads();
    PivotSums* out = p.partial + (sample * p.c + first_channel + k) * p.slices + slice;
    sum_rows(stage, t.columns, t.rows, wanted, out, V * p.slices);
    __syncthreads();
  }
  if constexpr (BY_LAST_BLOCK) {
    finish_if_last(p, sample, t.tiles * p.slices, reinterpret_cast<double*>(stage));
  }
}

template <int V, class Task>
static cudaError_t sum_in_vectors(const Task& p, cudaStream_t on) {
  const long long blocks = p.n * p.slices * tiling<V>(p.c).tiles;
  if (blocks > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  sum_channels_last<V><<<static_cast<unsigned>(blocks), BLOCK_SIZE, 0, on>>>(p);
  return cudaGetLastError();
}

template <class Task>
static cudaError_t sum(const Task& p, cudaStream_t on) {
  // A vector must not straddle two positions.
  const bool whole = p.c % VECTOR_WIDTH == 0 && reinterpret_cast<std::uintptr_t>(p.y) % (4 * VECTOR_WIDTH) == 0;
  return whole ? sum_in_vectors<VECTOR_WIDTH>(p, on) : sum_in_vectors<1>(p, on);
}
#endif

template <class Task>
static cudaError_t launch_channel_sums(const Task& p, cudaStream_t on) {
  if (p.n == 0) return cudaSuccess;
  if (p.n > MAX_GRID_X) return cudaErrorInvalidConfiguration;
#if FINISH == FINISH_LAST_BLOCK
  if (const cudaError_t error = cudaMemsetAsync(p.arrived, 0, p.n * sizeof(int), on)) return error;
  return sum(p, on);
#else
  if (const cudaError_t error = sum(p, on)) return error;
  return launch_next(OVERLAP, finish_samples<Task>, static_cast<unsigned>(p.n), BLOCK_SIZE, on, p);
#endif
}
