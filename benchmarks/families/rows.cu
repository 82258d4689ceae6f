// Reductions over rows, and what is made of them: OPERATION is one of those below.
#include "families/rows.cuh"

#define SOFTMAX 0
#define LAYER_NORM 1  // weight and bias of every element
#define RMS_NORM 2    // weight of every element
#define LOGSUMEXP 3
#define GROUP_NORM 4  // weight and bias of every channel; a row is a group of channels
#define BATCH_NORM 5  // likewise; a row is a channel of all samples; mean and variance, too
#define MSE 6
#define HUBER 7
#define KL 8
#define FROBENIUS 9
#ifndef OPERATION
#define OPERATION SOFTMAX
#endif
#ifndef BLOCK_SIZE
#define BLOCK_SIZE 256
#endif
#ifndef THREADS_PER_ROW
#define THREADS_PER_ROW 1024
#endif
#ifndef VECTOR_WIDTH
#define VECTOR_WIDTH 4
#endif
#ifndef UNROLL
#define UNROLL 4
#endif
#ifndef KEEP
#define KEEP 1
#endif
#ifndef REDUCTION
#define REDUCTION 0
#endif
#ifndef SPLIT
#define SPLIT 0
#endif
#ifndef CHUNK_MB
#define CHUNK_MB 0
#endif

struct Schedule {
  static constexpr int block_size = BLOCK_SIZE, threads_per_row = THREADS_PER_ROW, vector_width = VECTOR_WIDTH;
  static constexpr int unroll = UNROLL, keep = KEEP, reduction = REDUCTION, split = SPLIT, chunk_mb = CHUNK_MB;
};

constexpr bool is_norm = OPERATION == LAYER_NORM || OPERATION == GROUP_NORM || OPERATION == BATCH_NORM;
constexpr bool is_exponential = OPERATION == SOFTMAX || OPERATION == LOGSUMEXP;
constexpr bool is_loss = OPERATION == MSE || OPERATION == HUBER || OPERATION == KL;
using Found = std::conditional_t<is_exponential, MaxSumState, std::conditional_t<is_norm, MomentsState, SumState>>;

struct Reduced {
  static constexpr int INPUTS = is_loss ? 2 : 1, RESULTS = is_norm || OPERATION == SOFTMAX || OPERATION == RMS_NORM;
  static constexpr int TOTALS = OPERATION == BATCH_NORM ? 2 : !RESULTS;
  static constexpr bool SEGMENTED = OPERATION == BATCH_NORM;
  using Rounds = RoundsOf<Found>;
  using Total = float;
  const Element* input[INPUTS];
  Element* result[places(RESULTS)];
  float* total[places(TOTALS)];
  const float *weight, *bias;
  Index groups;        // GroupNorm: of a sample
  Index channels;      // of a group
  Divider by_channel;  // elements of a channel
  float per_count;

  struct Row {
    float first, second, weight, bias;
    Index channel;
  };
  struct Item {
    float x;
  };
  // Of a parameter that PyTorch has allocated: four neighbours may be read at once.
  __device__ static const float* aligned(const float* p) {
    return static_cast<const float*>(__builtin_assume_aligned(p, 16));
  }
  __device__ Row row(Index r) const {
    Row row{};
    if constexpr (OPERATION == GROUP_NORM) row.channel = r % groups * channels;
    if constexpr (OPERATION == BATCH_NORM) row.weight = weight[r], row.bias = bias[r];
    return row;
  }
  __device__ Item item(const Row&, Index, const float (&in)[INPUTS]) const {
    if constexpr (OPERATION == MSE) return {(in[0] - in[1]) * (in[0] - in[1])};
    if constexpr (OPERATION == HUBER) {
      const float step = fabsf(in[0] - in[1]);
      return {step < 1.0f ? 0.5f * step * step : step - 0.5f};
    }
    if constexpr (OPERATION == KL) return {in[1] > 0.0f ? in[1] * (logf(in[1]) - in[0]) : 0.0f};
    return {in[0]};
  }
  __device__ float lift(Round<0>, const Row&, Index, const Item& item) const {
    return OPERATION == RMS_NORM || OPERATION == FROBENIUS ? item.x * item.x : item.x;
  }
  __device__ void close(Round<0>, Row& row, const MaxSumState& found) const {
    row.first = found.max, row.second = static_cast<float>(1.0 / found.sum);
  }
  __device__ void close(Round<0>, Row& row, const MomentsState& found) const {
    row.first = static_cast<float>(found.mean()), row.second = static_cast<float>(found.variance());
    if constexpr (OPERATION != BATCH_NORM) row.second = rsqrtf(row.second + 1e-5f);
  }
  __device__ void close(Round<0>, Row& row, const SumState& found) const {
    const float sum = static_cast<float>(found.value);
    row.first = OPERATION == FROBENIUS ? sqrtf(sum) : sum * per_count;
    row.second = rsqrtf(sum * per_count + 1e-5f);
  }
  __device__ void results(const Row& row, Index i, const Item& item, float (&out)[places(RESULTS)]) const {
    if constexpr (OPERATION == SOFTMAX) out[0] = expf(item.x - row.first) * row.second;
    if constexpr (OPERATION == RMS_NORM) out[0] = item.x * row.second * aligned(weight)[i];
    if constexpr (OPERATION == LAYER_NORM) {
      out[0] = (item.x - row.first) * row.second * aligned(weight)[i] + aligned(bias)[i];
    }
    if constexpr (OPERATION == GROUP_NORM) {
      const Index channel = row.channel + by_channel.quotient(i);
      out[0] = (item.x - row.first) * row.second * weight[channel] + bias[channel];
    }
    if constexpr (OPERATION == BATCH_NORM) {
      out[0] = (item.x - row.first) * (rsqrtf(row.second + 1e-5f) * row.weight) + row.bias;
    }
  }
  __device__ void totals(const Row& row, float (&out)[places(TOTALS)]) const {
    out[0] = OPERATION == LOGSUMEXP ? row.first - logf(row.second) : row.first;
    if constexpr (TOTALS > 1) out[1] = row.second;
  }
};

// `groups`, `channels` (of a group) and `spatial` of GroupNorm; 1 otherwise.
extern "C" int run(const Element* x, const Element* other, const float* weight, const float* bias, Element* y,
                   float* first, float* second, void* workspace, long long segments, long long rows, long long length,
                   long long groups, long long channels, long long spatial, void* stream) {
  Reduced f{};
  f.input[0] = x, f.result[0] = y, f.total[0] = first, f.weight = weight, f.bias = bias;
  if constexpr (Reduced::INPUTS > 1) f.input[Reduced::INPUTS - 1] = other;
  if constexpr (Reduced::TOTALS > 1) f.total[Reduced::TOTALS - 1] = second;
  f.groups = static_cast<Index>(groups), f.channels = static_cast<Index>(channels);
  f.by_channel = Divider(static_cast<Index>(spatial)), f.per_count = static_cast<float>(1.0 / (segments * length));
  return launch_rows<Schedule>(f, segments, rows, length, workspace, stream);
}
