// ReLU and GroupNorm over a convolution's output, the changes of layout around that convolution, and its weight.
//
// y, the convolution's output, is (N, C, S) or, channels last, (N, S, C); the result is always (N, C, S).
// The work is cut into units, each some whole groups of one sample: SPLIT blocks find a unit's statistics, the last
// of them to finish merges what they found, and further blocks read the unit again and write the result.
// With SCHEDULE passes, that is two launches, the second in the reverse order of the first: what was read last is
// still in L2. With SCHEDULE interleaved, one launch holds both: statistics run LEAD units ahead of the result, so
// that a unit is still in L2 when it is read again.
#include "core/launch.cuh"
#include "core/reduce.cuh"
#include "core/transpose.cuh"
#include "core/vector.cuh"
#include "numerics/activation.cuh"
#include "numerics/moments.cuh"
#include "tile_layout.hpp"

#ifndef VECTOR_WIDTH
#define VECTOR_WIDTH 4  // floats a load or store, where the sizes divide
#endif
#ifndef UNROLL
#define UNROLL 4  // vectors a thread has under way
#endif
#ifndef SPLIT
#define SPLIT 128  // blocks that share one unit's statistics
#endif
#ifndef REDUCTION
#define REDUCTION_SHUFFLE 0
#define REDUCTION_SHARED 1
#define REDUCTION REDUCTION_SHUFFLE
#endif
#ifndef SCHEDULE
#define SCHEDULE_PASSES 0
#define SCHEDULE_INTERLEAVED 1
#define SCHEDULE SCHEDULE_INTERLEAVED
#endif
#ifndef LEAD
#define LEAD 2  // units by which the statistics run ahead
#endif
#ifndef REVERSE
#define REVERSE 1  // begin with the last unit, which the convolution left in L2
#endif
#ifndef STREAMING
#define STREAMING 1  // second read and result leave the caches first
#endif
#ifndef TILES_PER_BLOCK
#define TILES_PER_BLOCK 1
#endif
#ifndef LAYOUT_POSITIONS
#define LAYOUT_POSITIONS 128  // positions that a block turns over when it changes the input's layout
#endif

namespace {

constexpr int WARPS = BLOCK_SIZE / 32;
constexpr int MIN_BLOCKS = 512 / BLOCK_SIZE;  // leaves a thread up to 128 registers
constexpr int SPAN = 1 << 22, MAX_CHANNELS = 1 << 22;  // what loops step over, and what tiles multiply, fits an int
constexpr Reduction HOW = REDUCTION == REDUCTION_SHUFFLE ? Reduction::shuffle : Reduction::shared;

template <int V, int ROWS, int COLUMNS, bool READ_ONCE, bool WRITE_ONCE>
using Turn = Transpose<V, BLOCK_SIZE, ROWS, COLUMNS, lanes(V, ROWS), staged(V), READ_ONCE, WRITE_ONCE>;

struct Task {
  const float *y, *bias, *gamma, *beta;  // bias: the convolution's, or null
  float* result;
  Moments<float>* partials;  // (N, groups, SPLIT)
  float2* statistics;  // (N, groups): mean and 1 / sqrt(variance + eps)
  unsigned* progress;  // tickets drawn, then for each unit the blocks done, plus one when its statistics stand
  int samples, positions, channels, groups, group_channels;
  int unit_groups, units_per_sample;  // a sample's last unit may have fewer groups
  float eps;

  __host__ __device__ int units() const { return samples * units_per_sample; }
};

struct Unit {
  int index, sample, first_group, groups;
};

__device__ __forceinline__ Unit unit_at(const Task& task, int index) {
  const int sample = index / task.units_per_sample, first = index % task.units_per_sample * task.unit_groups;
  return {index, sample, first, min(task.unit_groups, task.groups - first)};
}

// Where line `lines` begins among lines of `pitch` things.
__device__ __forceinline__ long long offset(long long lines, int pitch) { return lines * pitch; }

// Number of the unit's first group among all samples' groups.
__device__ __forceinline__ long long first_pair(const Task& task, Unit unit) {
  return offset(unit.sample, task.groups) + unit.first_group;
}

// First of `count` things that fall to one of SPLIT shares; the next share's first is where it ends.
__device__ __forceinline__ int share_begin(int count, int share) {
  return static_cast<int>(static_cast<long long>(count) * share / SPLIT);
}

// Shared memory of one block; statistics and result use it in turn.
template <class Layout>
union alignas(16) Scratch {
  Moments<float> moments[BLOCK_SIZE];
  float floats[Layout::SCRATCH];
};

template <int V>
__device__ __forceinline__ void activate(Vector<V> v, float bias, float* to) {
#pragma unroll
  for (int j = 0; j < V; j++) to[j] = Relu()(v.at[j] + bias);
}

// What ReLU, GroupNorm and its affine part do to a value of one channel.
struct Normalise {
  float bias, mean, scale, shift;

  __device__ float operator()(float v) const { return (Relu()(v + bias) - mean) * scale + shift; }
};

__device__ __forceinline__ Normalise channel_of(const Task& task, int sample, int channel) {
  const float2 found = __ldcg(task.statistics + offset(sample, task.groups) + channel / task.group_channels);
  const float bias = task.bias == nullptr ? 0.0f : task.bias[channel];
  return {bias, found.x, found.y * task.gamma[channel], task.beta[channel]};
}

// y is (N, C, S): a unit is one group of one sample, a contiguous run of floats.
template <int V>
struct ChannelsFirst {
  static constexpr int SCRATCH = 4;
  static constexpr int RUN = BLOCK_SIZE * UNROLL * V * TILES_PER_BLOCK;  // positions that a block writes

  static int unit_groups(int, int) { return 1; }
  static long long items(const Task& task) { return task.group_channels * ceil_div(task.positions, RUN); }
  static bool fits(const Task& task) { return task.positions % V == 0; }

  // Moments of the block's share of the unit's only group: vectors [first, last) of its run.
  static __device__ __forceinline__ void partials(const Task& task, Unit unit, int share, Moments<float>* scratch) {
    const int row = task.positions / V, count = task.group_channels * row;  // vectors
    const int first = share_begin(count, share), last = share_begin(count, share + 1);
    const int channel = unit.first_group * task.group_channels;
    const float* y = task.y + offset(offset(unit.sample, task.channels) + channel, task.positions);
    const auto bias = [&](int at) { return task.bias == nullptr ? 0.0f : task.bias[channel + at / row]; };
    Moments<float> found = {0.0f, 0.0f, 0.0f};
    int at = first + threadIdx.x;
    for (; at < last - (UNROLL - 1) * BLOCK_SIZE; at += UNROLL * BLOCK_SIZE) {
      Vector<V> held[UNROLL];
      float values[UNROLL * V];
#pragma unroll
      for (int i = 0; i < UNROLL; i++) held[i] = load<V>(y + offset(at + i * BLOCK_SIZE, V));
#pragma unroll
      for (int i = 0; i < UNROLL; i++) activate(held[i], bias(at + i * BLOCK_SIZE), values + i * V);
      found = merge(found, moments_of(values));
    }
    for (; at < last; at += BLOCK_SIZE) {
      float values[V];
      activate(load<V>(y + offset(at, V)), bias(at), values);
      found = merge(found, moments_of(values));
    }
    found = block_reduce<BLOCK_SIZE, HOW>(found, Merge{}, scratch);
    if (threadIdx.x == 0) task.partials[offset(first_pair(task, unit), SPLIT) + share] = found;
  }

  // Writes RUN positions of one channel.
  static __device__ __forceinline__ void result(const Task& task, Unit unit, int item, float*) {
    const int runs = (task.positions - 1) / RUN + 1;
    const int channel = unit.first_group * task.group_channels + item / runs, first = item % runs * RUN;
    const Normalise normalise = channel_of(task, unit.sample, channel);
    const long long start = offset(offset(unit.sample, task.channels) + channel, task.positions) + first;
    const int count = min(RUN, task.positions - first);
    for (int base = threadIdx.x * V; base < count; base += BLOCK_SIZE * UNROLL * V) {
      const float* from = task.y + start + base;
      float* to = task.result + start + base;
      Vector<V> held[UNROLL];
#pragma unroll
      for (int i = 0; i < UNROLL; i++) {
        const int ahead = i * BLOCK_SIZE * V;
        if (base + ahead < count) held[i] = STREAMING ? load_once<V>(from + ahead) : load<V>(from + ahead);
      }
#pragma unroll
      for (int i = 0; i < UNROLL; i++) {
        const int ahead = i * BLOCK_SIZE * V;
        if (base + ahead >= count) break;
#pragma unroll
        for (int j = 0; j < V; j++) held[i].at[j] = normalise(held[i].at[j]);
        STREAMING ? store_once(to + ahead, held[i]) : store(to + ahead, held[i]);
      }
    }
  }
};

// y is (N, S, C): a unit is as many groups as lie in TILE_CHANNELS channels, but one at least.
template <int V>
struct ChannelsLast {
  using Tile = Turn<V, TILE_POSITIONS, TILE_CHANNELS, STREAMING, STREAMING>;
  static constexpr int SCRATCH = Tile::SCRATCH + 4 * TILE_CHANNELS;
  static constexpr int RUN = TILE_POSITIONS * TILES_PER_BLOCK;

  static int unit_groups(int groups, int group_channels) {
    const int fit = TILE_CHANNELS / group_channels;
    return fit < 1 ? 1 : fit < groups ? fit : groups;
  }
  // Channel tiles of a unit: several only when one group is wider than TILE_CHANNELS.
  static __host__ __device__ int channel_tiles(const Task& task) {
    return static_cast<int>(ceil_div(task.unit_groups * task.group_channels, TILE_CHANNELS));
  }
  static long long items(const Task& task) { return channel_tiles(task) * ceil_div(task.positions, RUN); }
  static bool fits(const Task& task) { return task.positions % V == 0 && task.group_channels % V == 0; }

  // Moments of each of the unit's groups over the block's share of the positions. Threads lie side by side along
  // the unit's channels, V a thread, in as many rows as fit; all that a thread reads belongs to one group.
  static __device__ __forceinline__ void partials(const Task& task, Unit unit, int share, Moments<float>* scratch) {
    const int group_vectors = task.group_channels / V, vectors = unit.groups * group_vectors;
    const int lanes = min(vectors, BLOCK_SIZE), rows = BLOCK_SIZE / lanes;
    const int lane = threadIdx.x % lanes, row = threadIdx.x / lanes;
    const int first = share_begin(task.positions, share), last = share_begin(task.positions, share + 1);
    const int channel = unit.first_group * task.group_channels;
    Moments<float> found = {0.0f, 0.0f, 0.0f};
    for (int vector = lane; row < rows && vector < vectors; vector += lanes) {  // again only in a group that wide
      const float* y = task.y + offset(offset(unit.sample, task.positions), task.channels) + channel + vector * V;
      float bias[V];
#pragma unroll
      for (int j = 0; j < V; j++) bias[j] = task.bias == nullptr ? 0.0f : task.bias[channel + vector * V + j];
      int at = first + row;
      for (; at < last - (UNROLL - 1) * rows; at += UNROLL * rows) {
        Vector<V> held[UNROLL];
        float values[UNROLL * V];
#pragma unroll
        for (int i = 0; i < UNROLL; i++) held[i] = load<V>(y + offset(at + i * rows, task.channels));
#pragma unroll
        for (int i = 0; i < UNROLL * V; i++) values[i] = Relu()(held[i / V].at[i % V] + bias[i % V]);
        found = merge(found, moments_of(values));
      }
      for (; at < last; at += rows) {
        const Vector<V> held = load<V>(y + offset(at, task.channels));
        float values[V];
#pragma unroll
        for (int j = 0; j < V; j++) values[j] = Relu()(held.at[j] + bias[j]);
        found = merge(found, moments_of(values));
      }
    }
    // A group's members side by side, then each group by itself.
    const int group_lanes = min(group_vectors, lanes), members = rows * group_lanes;
    if (row < rows) scratch[lane / group_lanes * members + row * group_lanes + lane % group_lanes] = found;
    __syncthreads();
    Moments<float>* partials = task.partials + offset(first_pair(task, unit), SPLIT) + share;
    if constexpr (HOW == Reduction::shuffle) {
      for (int group = threadIdx.x / 32; group < unit.groups; group += WARPS) {
        found = {0.0f, 0.0f, 0.0f};
        for (int i = threadIdx.x % 32; i < members; i += 32) found = merge(found, scratch[group * members + i]);
        found = warp_reduce(found, Merge{});
        if (threadIdx.x % 32 == 0) partials[group * SPLIT] = found;
      }
    } else {
      const int group = threadIdx.x / members, member = threadIdx.x % members;
      for (int left = members; left > 1; left = (left + 1) / 2) {
        const int half = (left + 1) / 2;
        if (group < unit.groups && member < left - half) {
          scratch[threadIdx.x] = merge(scratch[threadIdx.x], scratch[threadIdx.x + half]);
        }
        __syncthreads();
      }
      if (group < unit.groups && member == 0) partials[group * SPLIT] = scratch[threadIdx.x];
    }
  }

  // Writes RUN positions of TILE_CHANNELS channels, turned over.
  static __device__ __forceinline__ void result(const Task& task, Unit unit, int item, float* scratch) {
    const int tiles = channel_tiles(task), skipped = item % tiles * TILE_CHANNELS;
    const int channel = unit.first_group * task.group_channels + skipped;
    const int channels = min(TILE_CHANNELS, unit.groups * task.group_channels - skipped);
    float* constants = scratch + Tile::SCRATCH;  // (bias, mean, scale, shift) x TILE_CHANNELS
    for (int c = threadIdx.x; c < channels; c += BLOCK_SIZE) {
      const Normalise found = channel_of(task, unit.sample, channel + c);
      constants[c] = found.bias;
      constants[TILE_CHANNELS + c] = found.mean;
      constants[2 * TILE_CHANNELS + c] = found.scale;
      constants[3 * TILE_CHANNELS + c] = found.shift;
    }
    __syncthreads();
    const auto normalise = [&](Vector<V>(&patch)[V], int column) {
      const Vector<V> bias = load<V>(constants + column), mean = load<V>(constants + TILE_CHANNELS + column);
      const Vector<V> scale = load<V>(constants + 2 * TILE_CHANNELS + column);
      const Vector<V> shift = load<V>(constants + 3 * TILE_CHANNELS + column);
#pragma unroll
      for (int k = 0; k < V; k++) {
        const Normalise of = {bias.at[k], mean.at[k], scale.at[k], shift.at[k]};
#pragma unroll
        for (int j = 0; j < V; j++) patch[j].at[k] = of(patch[j].at[k]);
      }
    };
    const int first = item / tiles * RUN, count = min(RUN, task.positions - first);
    const float* from = task.y + offset(offset(unit.sample, task.positions) + first, task.channels) + channel;
    float* to = task.result + offset(offset(unit.sample, task.channels) + channel, task.positions) + first;
    for (int at = 0; at < count; at += TILE_POSITIONS) {
      if (at > 0) __syncthreads();  // all have read the tile before
      Tile::move(from + offset(at, task.channels), task.channels, to + at, task.positions,
                 min(count - at, TILE_POSITIONS), channels, scratch, normalise);
    }
  }
};

static_assert(sizeof(Scratch<ChannelsLast<VECTOR_WIDTH>>) == scratch_bytes(VECTOR_WIDTH), "as tile_layout.hpp says");

// The block's share of a unit's statistics; the last block of the unit merges all shares, in a fixed order.
template <class Layout>
__device__ void statistics(const Task& task, Unit unit, int share, Moments<float>* scratch) {
  __shared__ bool last;
  Layout::partials(task, unit, share, scratch);
  __syncthreads();
  unsigned* done = task.progress + 1 + unit.index;
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicAdd(done, 1u) == SPLIT - 1;
    __threadfence();
  }
  __syncthreads();
  if (!last) return;
  const float* partials = &task.partials[offset(first_pair(task, unit), SPLIT)].count;
  for (int group = threadIdx.x / 32; group < unit.groups; group += WARPS) {
    Moments<float> found = {0.0f, 0.0f, 0.0f};
    for (int i = threadIdx.x % 32; i < SPLIT; i += 32) {
      const float* p = partials + (group * SPLIT + i) * 3;
      found = merge(found, Moments<float>{__ldcg(p), __ldcg(p + 1), __ldcg(p + 2)});  // L1 does not see other blocks' stores
    }
    found = warp_reduce(found, Merge{});
    if (threadIdx.x % 32 == 0) {
      const float rstd = 1.0f / sqrtf(found.m2 / found.count + task.eps);
      task.statistics[first_pair(task, unit) + group] = make_float2(found.mean, rstd);
    }
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    atomicAdd(done, 1u);
  }
}

__device__ __forceinline__ int in_order(const Task& task, int index, bool reverse) {
  return reverse ? task.units() - 1 - index : index;
}

template <class Layout>
__global__ void __launch_bounds__(BLOCK_SIZE, MIN_BLOCKS) statistics_pass(const Task task) {
  __shared__ Scratch<Layout> scratch;
  const int unit = in_order(task, blockIdx.x / SPLIT, REVERSE);
  statistics<Layout>(task, unit_at(task, unit), blockIdx.x % SPLIT, scratch.moments);
}

template <class Layout>
__global__ void __launch_bounds__(BLOCK_SIZE, MIN_BLOCKS) result_pass(const Task task, int items) {
  __shared__ Scratch<Layout> scratch;
  const int unit = in_order(task, static_cast<int>(blockIdx.x) / items, !REVERSE);
  Layout::result(task, unit_at(task, unit), static_cast<int>(blockIdx.x) % items, scratch.floats);
}

// Blocks draw tickets, so that a block which waits for statistics was preceded by all that it waits for, and those
// wait for nothing: no order in which the device starts blocks can lock up.
// LEAD units' statistics come first, then unit by unit the next statistics and a result, then LEAD results.
template <class Layout>
__global__ void __launch_bounds__(BLOCK_SIZE, MIN_BLOCKS) interleaved(const Task task, int items) {
  __shared__ Scratch<Layout> scratch;
  __shared__ int drawn;
  if (threadIdx.x == 0) drawn = static_cast<int>(atomicAdd(task.progress, 1u));
  __syncthreads();
  const int units = task.units(), lead = min(LEAD, units);
  int ticket = drawn, unit, share;
  if (ticket < lead * SPLIT) {
    unit = ticket / SPLIT;
    share = ticket % SPLIT;
  } else if (ticket -= lead * SPLIT; ticket < (units - lead) * (SPLIT + items)) {
    const int step = ticket / (SPLIT + items);
    share = ticket % (SPLIT + items);
    unit = share < SPLIT ? lead + step : step;
  } else {
    ticket -= (units - lead) * (SPLIT + items);
    unit = units - lead + ticket / items;
    share = SPLIT + ticket % items;
  }
  const Unit mine = unit_at(task, in_order(task, unit, REVERSE));
  if (share < SPLIT) {
    statistics<Layout>(task, mine, share, scratch.moments);
    return;
  }
  if (threadIdx.x == 0) {
    while (atomicAdd(task.progress + 1 + mine.index, 0u) <= SPLIT) __nanosleep(100);
    __threadfence();
  }
  __syncthreads();
  Layout::result(task, mine, share - SPLIT, scratch.floats);
}

template <class Layout>
int normalise(Task task, cudaStream_t stream) {
  task.unit_groups = Layout::unit_groups(task.groups, task.group_channels);
  task.units_per_sample = static_cast<int>(ceil_div(task.groups, task.unit_groups));
  const long long items = Layout::items(task);
  if (static_cast<long long>(task.samples) * task.units_per_sample * (SPLIT + items) > MAX_GRID_X) {
    return cudaErrorInvalidConfiguration;
  }
  const int units = task.units(), unit_items = static_cast<int>(items);
  const cudaError_t cleared = cudaMemsetAsync(task.progress, 0, (1 + units) * sizeof(unsigned), stream);
  if (cleared != cudaSuccess) return cleared;
  if constexpr (SCHEDULE == SCHEDULE_INTERLEAVED) {
    interleaved<Layout><<<units * (SPLIT + unit_items), BLOCK_SIZE, 0, stream>>>(task, unit_items);
  } else {
    statistics_pass<Layout><<<units * SPLIT, BLOCK_SIZE, 0, stream>>>(task);
    result_pass<Layout><<<units * unit_items, BLOCK_SIZE, 0, stream>>>(task, unit_items);
  }
  return cudaGetLastError();
}

constexpr int LAYOUT_CHANNELS = 32;

// in (N, rows, columns) -> out (N, columns, rows)
template <class Tile, int TILE_ROWS, int TILE_COLUMNS>
__global__ void __launch_bounds__(BLOCK_SIZE, MIN_BLOCKS) turn(const float* in, float* out, int rows, int columns) {
  alignas(16) __shared__ float scratch[Tile::SCRATCH + 1];
  const int down = (rows - 1) / TILE_ROWS + 1, across = (columns - 1) / TILE_COLUMNS + 1;
  const int tile = static_cast<int>(blockIdx.x) / down, sample = tile / across;
  const int row = static_cast<int>(blockIdx.x) % down * TILE_ROWS, column = tile % across * TILE_COLUMNS;
  Tile::move(in + offset(offset(sample, rows) + row, columns) + column, columns,
             out + offset(offset(sample, columns) + column, rows) + row, rows, min(rows - row, TILE_ROWS),
             min(columns - column, TILE_COLUMNS), scratch, [](auto&, int) {});
}

template <int V>
int to_channels_last(const float* in, float* out, long long samples, long long channels, long long positions,
                     cudaStream_t stream) {
  using Tile = Turn<V, LAYOUT_CHANNELS, LAYOUT_POSITIONS, true, false>;
  const long long blocks = samples * ceil_div(channels, LAYOUT_CHANNELS) * ceil_div(positions, LAYOUT_POSITIONS);
  if (blocks > MAX_GRID_X || positions > INT_MAX) return cudaErrorInvalidConfiguration;
  turn<Tile, LAYOUT_CHANNELS, LAYOUT_POSITIONS><<<static_cast<unsigned>(blocks), BLOCK_SIZE, 0, stream>>>(
      in, out, static_cast<int>(channels), static_cast<int>(positions));
  return cudaGetLastError();
}

// One float of the result a thread: w (inputs, outputs, taps) -> (a, b, taps), or (a, taps, b) when channels last,
// where (a, b) is (outputs, inputs) and the taps run backwards when `flipped`, else (inputs, outputs).
__global__ void arrange(const float* w, float* out, int inputs, int outputs, int taps, bool flipped,
                        bool last) {
  const long long at = static_cast<long long>(blockIdx.x) * BLOCK_SIZE + threadIdx.x;
  if (at >= static_cast<long long>(inputs) * outputs * taps) return;
  const int width = flipped ? inputs : outputs;
  const long long row = at / (static_cast<long long>(width) * taps);
  const int rest = static_cast<int>(at % (static_cast<long long>(width) * taps));
  const int tap = last ? rest / width : rest % taps, b = last ? rest % width : rest / taps;
  const long long input = flipped ? b : row, output = flipped ? row : b;
  out[at] = w[(input * outputs + output) * taps + (flipped ? taps - 1 - tap : tap)];
}

bool aligned(const void* p, int floats) { return reinterpret_cast<std::uintptr_t>(p) % (4 * floats) == 0; }

template <template <int> class Layout>
int normalise(const float* y, const float* bias, const float* gamma, const float* beta, float* result, float* partials,
              float* statistics, int* progress, long long samples, long long channels, long long positions,
              long long groups, double eps, void* stream) {
  if (samples > INT_MAX || channels / groups * positions > INT_MAX - SPAN || channels > MAX_CHANNELS) {
    return cudaErrorInvalidConfiguration;
  }
  const Task task = {y,
                     bias,
                     gamma,
                     beta,
                     result,
                     reinterpret_cast<Moments<float>*>(partials),
                     reinterpret_cast<float2*>(statistics),
                     reinterpret_cast<unsigned*>(progress),
                     static_cast<int>(samples),
                     static_cast<int>(positions),
                     static_cast<int>(channels),
                     static_cast<int>(groups),
                     static_cast<int>(channels / groups),
                     0,
                     0,
                     static_cast<float>(eps)};
  const bool vectors = Layout<VECTOR_WIDTH>::fits(task) && aligned(y, VECTOR_WIDTH) && aligned(result, VECTOR_WIDTH);
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  return vectors ? normalise<Layout<VECTOR_WIDTH>>(task, cuda_stream) : normalise<Layout<1>>(task, cuda_stream);
}

}  // namespace

// y (samples, channels, positions) -> result, likewise. Workspaces, not initialised: partials holds
// samples * groups * SPLIT * 3 floats, statistics samples * groups * 2, progress samples * groups + 1 integers.
extern "C" int normalise_contiguous(const float* y, const float* bias, const float* gamma, const float* beta,
                                    float* result, float* partials, float* statistics, int* progress,
                                    long long samples, long long channels, long long positions, long long groups,
                                    double eps, void* stream) {
  return normalise<ChannelsFirst>(y, bias, gamma, beta, result, partials, statistics, progress, samples, channels,
                                  positions, groups, eps, stream);
}

// y (samples, positions, channels) -> result (samples, channels, positions); workspaces as above.
extern "C" int normalise_channels_last(const float* y, const float* bias, const float* gamma, const float* beta,
                                       float* result, float* partials, float* statistics, int* progress,
                                       long long samples, long long channels, long long positions, long long groups,
                                       double eps, void* stream) {
  return normalise<ChannelsLast>(y, bias, gamma, beta, result, partials, statistics, progress, samples, channels,
                                 positions, groups, eps, stream);
}

// x (samples, channels, positions) -> out (samples, positions, channels)
extern "C" int change_layout(const float* x, float* out, long long samples, long long channels, long long positions,
                             void* stream) {
  const bool vectors = channels % VECTOR_WIDTH == 0 && positions % VECTOR_WIDTH == 0 && aligned(x, VECTOR_WIDTH) &&
                       aligned(out, VECTOR_WIDTH);
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  return vectors ? to_channels_last<VECTOR_WIDTH>(x, out, samples, channels, positions, cuda_stream)
                 : to_channels_last<1>(x, out, samples, channels, positions, cuda_stream);
}

// The transposed convolution's weight w (inputs, outputs, taps) as `arrange` says.
extern "C" int arrange_weight(const float* w, float* out, long long inputs, long long outputs, long long taps,
                              long long flipped, long long last, void* stream) {
  const long long blocks = ceil_div(inputs * outputs * taps, BLOCK_SIZE);
  if (blocks > MAX_GRID_X || outputs * taps > INT_MAX || inputs * taps > INT_MAX) return cudaErrorInvalidConfiguration;
  arrange<<<static_cast<unsigned>(blocks), BLOCK_SIZE, 0, static_cast<cudaStream_t>(stream)>>>(
      w, out, static_cast<int>(inputs), static_cast<int>(outputs), static_cast<int>(taps), flipped != 0, last != 0);
  return cudaGetLastError();
}
