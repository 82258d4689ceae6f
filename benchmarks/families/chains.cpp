// Chains of operations as functors of the families on the CPU: CHAIN is one of those below. The source is given the
// family's knobs as macros, and LAYER_NORM_GELU and its like as numbers.
#include "numerics/functions.hpp"  // ahead of all others

#include "families/columns.hpp"
#include "families/map.hpp"
#include "families/rows.hpp"
#include "families/scan.hpp"
#include "families/windows.hpp"

#define BIAS_RELU_HARDSWISH 0  // map; a bias a channel
#define BIAS_GELU_TIMES 1      // map; a bias an element
#define LAYER_NORM_GELU 2      // rows
#define GELU_SOFTMAX 3         // rows
#define MSE 4                  // rows, of which there is one
#define SOFTMAX_SIGMOID 5      // columns
#define MIN_TANH_TANH 6        // columns
#define RELU_MAX_POOL 7        // windows, 2 x 2, of x with a scale and a bias a channel
#define CLAMP_MEAN_POOL 8      // windows, 3 x 3 x 3 at stride 2, likewise
#define MASKED_CUMSUM 9        // scan

struct Schedule {
  static constexpr int threads = THREADS;
#ifdef GRAIN
  static constexpr int grain = GRAIN;
#endif
#ifdef BLOCK
  static constexpr int block = BLOCK;
#endif
#ifdef COLUMNS
  static constexpr int columns = COLUMNS;
#endif
#ifdef KEEP
  static constexpr int keep = KEEP;
#endif
#ifdef STREAMING
  static constexpr int streaming = STREAMING;
#endif
#ifdef LINES
  static constexpr int lines = LINES, slices = SLICES;
#endif
};

struct Tensors {
  const Element *x, *y, *scale, *bias;
  Index channels;
};

template <int HOW_MANY_IN, int HOW_MANY_OUT>
struct Functor {
  static constexpr int INPUTS = HOW_MANY_IN, RESULTS = HOW_MANY_OUT;
  const Element* input[INPUTS];
  Element* result[places(RESULTS)];
  Tensors t;

  Functor(const Tensors& of, Element* to) : input{of.x}, result{to}, t(of) {
    input[INPUTS - 1] = INPUTS > 1 ? of.y : of.x;
  }
  float of_channel(const Element* p, Index r) const { return to_float(p[r % t.channels]); }
};

#if CHAIN == BIAS_RELU_HARDSWISH || CHAIN == BIAS_GELU_TIMES
struct Chain : Functor<CHAIN == BIAS_GELU_TIMES ? 2 : 1, 1> {
  using Functor::Functor;
  struct Row {
    float bias;
  };
  Row row(Index r) const { return {CHAIN == BIAS_RELU_HARDSWISH ? of_channel(t.bias, r) : 0.0f}; }
  void map(const Row& row, Index i, const float (&in)[INPUTS], float (&out)[1]) const {
    if constexpr (CHAIN == BIAS_RELU_HARDSWISH) out[0] = fn::hardswish(fn::relu(in[0] + row.bias));
    if constexpr (CHAIN == BIAS_GELU_TIMES) out[0] = fn::gelu(in[0] + to_float(t.bias[i])) * in[INPUTS - 1];
  }
};

#elif CHAIN == RELU_MAX_POOL || CHAIN == CLAMP_MEAN_POOL
struct Geometry {
  static constexpr bool flat = CHAIN == RELU_MAX_POOL;
  static constexpr int kernel[3] = {flat ? 1 : 3, flat ? 2 : 3, flat ? 2 : 3}, stride[3] = {flat ? 1 : 2, 2, 2};
  static constexpr int padding[3] = {flat ? 0 : 1, flat ? 0 : 1, flat ? 0 : 1}, dilation[3] = {1, 1, 1};
  static constexpr Pool pool = flat ? Pool::max : Pool::mean;
};

struct Chain : Functor<1, 1> {
  using Functor::Functor;
  struct Row {
    float scale, bias;
  };
  Row row(Index r) const { return {of_channel(t.scale, r), of_channel(t.bias, r)}; }
  float before(const Row& row, Index, const float (&in)[1]) const {
    const float x = in[0] * row.scale + row.bias;
    return CHAIN == RELU_MAX_POOL ? fn::relu(x) : fn::clamp(x, -1.0f, 1.0f);
  }
  void after(const Row&, Index, float pooled, float (&out)[1]) const { out[0] = pooled; }
};

#elif CHAIN == MASKED_CUMSUM
struct Chain : Functor<2, 1> {
  using Functor::Functor;
  static constexpr bool product = false, reverse = false, exclusive = false;
  struct Row {};
  Row row(Index) const { return {}; }
  float lift(const Row&, Index, const float (&in)[2]) const { return in[0] * in[1]; }
  void results(const Row&, Index, const float (&)[2], float running, float (&out)[1]) const { out[0] = running; }
};

#else
using Found = std::conditional_t<
    CHAIN == LAYER_NORM_GELU, MomentsState,
    std::conditional_t<CHAIN == MSE, SumState, std::conditional_t<CHAIN == MIN_TANH_TANH, MinState, MaxSumState>>>;

struct Chain : Functor<CHAIN == MSE ? 2 : 1, CHAIN != MSE && CHAIN != MIN_TANH_TANH> {
  using Functor::Functor;
  static constexpr int TOTALS = !RESULTS;
  using Rounds = RoundsOf<Found>;
  using Total = Element;
  Element* total[places(TOTALS)];
  float per_count;

  struct Row {
    float first, second;
  };
  struct Item {
    float x;
  };
  Row row(Index) const { return {}; }
  Item item(const Row&, Index, const float (&in)[INPUTS]) const {
    return {CHAIN == GELU_SOFTMAX ? fn::gelu(in[0]) : CHAIN == MSE ? fn::square(in[0] - in[INPUTS - 1]) : in[0]};
  }
  float lift(Round<0>, const Row&, Index, const Item& item) const { return item.x; }
  void close(Round<0>, Row& row, const MaxSumState& found) const {
    row.first = found.max, row.second = static_cast<float>(1.0 / found.sum);
  }
  void close(Round<0>, Row& row, const MomentsState& found) const {
    row.first = static_cast<float>(found.mean()), row.second = fn::rsqrt(static_cast<float>(found.variance()) + 1e-5f);
  }
  void close(Round<0>, Row& row, const MinState& found) const { row.first = fn::tanh(fn::tanh(found.value)); }
  void close(Round<0>, Row& row, const SumState& found) const {
    row.first = static_cast<float>(found.value) * per_count;
  }
  void results(const Row& row, Index i, const Item& item, float (&out)[places(RESULTS)]) const {
    if constexpr (CHAIN == LAYER_NORM_GELU) {
      out[0] = fn::gelu((item.x - row.first) * row.second * to_float(t.scale[i]) + to_float(t.bias[i]));
    } else if constexpr (RESULTS > 0) {
      const float share = fn::exp_less(item.x, row.first) * row.second;
      out[0] = CHAIN == SOFTMAX_SIGMOID ? fn::sigmoid(share) : share;
    }
  }
  void totals(const Row& row, Element (&out)[1]) const { out[0] = to_element(row.first); }
};
#endif

// `sizes` as the family's launcher takes them, of channels at the end: (rows, length), (outer, length, inner), or
// (rows, depth, height, width, and those of the results).
extern "C" int run(const Element* x, const Element* y, const Element* scale, const Element* bias, Element* z,
                   const long long* sizes, long long channels) {
  Chain f({x, y, scale, bias, static_cast<Index>(channels)}, z);
#if CHAIN == BIAS_RELU_HARDSWISH || CHAIN == BIAS_GELU_TIMES
  return launch_map<Schedule>(f, sizes[0], sizes[1], nullptr);
#elif CHAIN == RELU_MAX_POOL || CHAIN == CLAMP_MEAN_POOL
  return launch_windows<Schedule, Geometry>(f, sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], sizes[6],
                                            nullptr);
#elif CHAIN == MASKED_CUMSUM
  return launch_scan<Schedule>(f, sizes[0], sizes[1], sizes[2], nullptr);
#else
  f.total[0] = z;
  f.per_count = static_cast<float>(1.0 / (sizes[0] * sizes[1]));
#if CHAIN == SOFTMAX_SIGMOID || CHAIN == MIN_TANH_TANH
  return launch_columns<Schedule>(f, sizes[0], sizes[1], sizes[2], nullptr, nullptr);
#else
  return launch_rows<Schedule>(f, 1, sizes[0], sizes[1], nullptr, nullptr);
#endif
#endif
}
