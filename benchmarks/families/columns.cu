// Reductions over an axis that is not the innermost, and what is made of them: OPERATION is one of those below.
#include "families/columns.cuh"

#define SOFTMAX 0
#define RMS_NORM 1
#define MINIMUM 2
#define SUM 3
#define BATCH_NORM 4  // of features: weight and bias of every column; mean and variance, too
#ifndef OPERATION
#define OPERATION SOFTMAX
#endif
#ifndef BLOCK_SIZE
#define BLOCK_SIZE 256
#endif
#ifndef THREADS_Y
#define THREADS_Y 8
#endif
#ifndef VECTOR_WIDTH
#define VECTOR_WIDTH 4
#endif
#ifndef UNROLL
#define UNROLL 8
#endif
#ifndef KEEP
#define KEEP 1
#endif
#ifndef SPLIT
#define SPLIT 0
#endif

struct Schedule {
  static constexpr int block_size = BLOCK_SIZE, threads_y = THREADS_Y, vector_width = VECTOR_WIDTH, unroll = UNROLL;
  static constexpr int keep = KEEP, split = SPLIT;
};

using Found = std::conditional_t<OPERATION == SOFTMAX, MaxSumState,
                                 std::conditional_t<OPERATION == BATCH_NORM, MomentsState,
                                                    std::conditional_t<OPERATION == MINIMUM, MinState, SumState>>>;

struct Reduced {
  static constexpr int INPUTS = 1, RESULTS = OPERATION != MINIMUM && OPERATION != SUM;
  static constexpr int TOTALS = OPERATION == BATCH_NORM ? 2 : !RESULTS;
  using Rounds = RoundsOf<Found>;
  using Total = float;
  const Element* input[INPUTS];
  Element* result[places(RESULTS)];
  float* total[places(TOTALS)];
  const float *weight, *bias;
  float per_count;

  struct Row {
    float first, second, weight, bias;
  };
  struct Item {
    float x;
  };
  __device__ Row row(Index r) const {
    Row row{};
    if constexpr (OPERATION == BATCH_NORM) row.weight = weight[r], row.bias = bias[r];
    return row;
  }
  __device__ Item item(const Row&, Index, const float (&in)[INPUTS]) const { return {in[0]}; }
  __device__ float lift(Round<0>, const Row&, Index, const Item& item) const {
    return OPERATION == RMS_NORM ? item.x * item.x : item.x;
  }
  __device__ void close(Round<0>, Row& row, const MaxSumState& found) const {
    row.first = found.max, row.second = static_cast<float>(1.0 / found.sum);
  }
  __device__ void close(Round<0>, Row& row, const MomentsState& found) const {
    row.first = static_cast<float>(found.mean()), row.second = static_cast<float>(found.variance());
  }
  __device__ void close(Round<0>, Row& row, const MinState& found) const { row.first = found.value; }
  __device__ void close(Round<0>, Row& row, const SumState& found) const {
    row.first = static_cast<float>(found.value), row.second = rsqrtf(row.first * per_count + 1e-5f);
  }
  __device__ void results(const Row& row, Index, const Item& item, float (&out)[places(RESULTS)]) const {
    if constexpr (OPERATION == SOFTMAX) out[0] = expf(item.x - row.first) * row.second;
    if constexpr (OPERATION == RMS_NORM) out[0] = item.x * row.second;
    if constexpr (OPERATION == BATCH_NORM) {
      out[0] = (item.x - row.first) * (rsqrtf(row.second + 1e-5f) * row.weight) + row.bias;
    }
  }
  __device__ void totals(const Row& row, float (&out)[places(TOTALS)]) const {
    out[0] = row.first;
    if constexpr (TOTALS > 1) out[1] = row.second;
  }
};

extern "C" int run(const Element* x, const float* weight, const float* bias, Element* y, float* first, float* second,
                   void* workspace, long long outer, long long length, long long inner, void* stream) {
  Reduced f{};
  f.input[0] = x, f.result[0] = y, f.total[0] = first, f.weight = weight, f.bias = bias;
  if constexpr (Reduced::TOTALS > 1) f.total[Reduced::TOTALS - 1] = second;
  f.per_count = static_cast<float>(1.0 / length);
  return launch_columns<Schedule>(f, outer, length, inner, workspace, stream);
}
