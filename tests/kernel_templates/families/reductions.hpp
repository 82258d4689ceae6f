// Functors that rows and columns are tried with: one source for both, on CUDA and on the CPU.
#pragma once
#include "numerics/functions.hpp"  // ahead of all others

#include "families/functor.hpp"
#include "numerics/element.hpp"
#include "numerics/monoids.hpp"

// exp(x - max) / sum: one round, results alone.
struct Softmax {
  static constexpr int INPUTS = 1, RESULTS = 1, TOTALS = 0;
  static constexpr bool SEGMENTED = false;
  using Rounds = RoundsOf<MaxSumState>;
  using Total = Real;
  const Element* input[1];
  Element* result[1];
  Real* total[1];
  struct Row {
    Real max, share;
  };
  struct Item {
    Real x;
  };
  TUNER_INLINE Row row(Index) const { return {}; }
  TUNER_INLINE Item item(const Row&, Index, const Real (&in)[1]) const { return {in[0]}; }
  TUNER_INLINE Real lift(Round<0>, const Row&, Index, const Item& item) const { return item.x; }
  TUNER_INLINE void close(Round<0>, Row& row, const MaxSumState& s) const {
    row.max = s.max, row.share = static_cast<Real>(1.0 / s.sum);
  }
  TUNER_INLINE void results(const Row& row, Index, const Item& item, Real (&out)[1]) const {
    out[0] = fn::exp(item.x - row.max) * row.share;
  }
  TUNER_INLINE void totals(const Row&, Real (&)[1]) const {}
};

// A norm of a + b with a weight for every element (of every row, by segments), then what softmax's sum is of it: two
// rounds, results, and mean, variance and sum for every row.
struct Norm {
  static constexpr int INPUTS = 2, RESULTS = 2, TOTALS = 3;
  using Rounds = RoundsOf<MomentsState, MaxSumState>;
  using Total = Real;
  const Element* input[2];
  Element* result[2];
  Real* total[3];
  const Real* weight;
  struct Row {
    Real mean, variance, rstd, max, sum;
  };
  struct Item {
    Real x;
  };
  TUNER_INLINE Row row(Index) const { return {}; }
  TUNER_INLINE Item item(const Row&, Index i, const Real (&in)[2]) const { return {(in[0] + in[1]) * weight[i]}; }
  TUNER_INLINE Real lift(Round<0>, const Row&, Index, const Item& item) const { return item.x; }
  TUNER_INLINE void close(Round<0>, Row& row, const MomentsState& s) const {
    row.mean = static_cast<Real>(s.mean()), row.variance = static_cast<Real>(s.variance());
    row.rstd = fn::rsqrt(row.variance + Real(1e-5));
  }
  TUNER_INLINE Real lift(Round<1>, const Row& row, Index, const Item& item) const {
    return (item.x - row.mean) * row.rstd;
  }
  TUNER_INLINE void close(Round<1>, Row& row, const MaxSumState& s) const {
    row.max = s.max, row.sum = static_cast<Real>(s.sum);
  }
  TUNER_INLINE void results(const Row& row, Index, const Item& item, Real (&out)[2]) const {
    out[0] = (item.x - row.mean) * row.rstd, out[1] = item.x;
  }
  TUNER_INLINE void totals(const Row& row, Real (&out)[3]) const {
    out[0] = row.mean, out[1] = row.variance, out[2] = row.max + fn::log(row.sum);
  }
};

// Where the largest element is: positions matter, and nothing is written but a number a row.
struct Largest {
  static constexpr int INPUTS = 1, RESULTS = 0, TOTALS = 1;
  static constexpr bool SEGMENTED = false;
  using Rounds = RoundsOf<ArgMaxState>;
  using Total = long long;
  const Element* input[1];
  Element* result[1];
  long long* total[1];
  struct Row {
    Index index;
  };
  struct Item {
    Real x;
  };
  TUNER_INLINE Row row(Index) const { return {}; }
  TUNER_INLINE Item item(const Row&, Index, const Real (&in)[1]) const { return {in[0]}; }
  TUNER_INLINE Real lift(Round<0>, const Row&, Index, const Item& item) const { return item.x; }
  TUNER_INLINE void close(Round<0>, Row& row, const ArgMaxState& s) const { row.index = s.index; }
  TUNER_INLINE void results(const Row&, Index, const Item&, Real (&)[1]) const {}
  TUNER_INLINE void totals(const Row& row, long long (&out)[1]) const { out[0] = row.index; }
};

// Sums of (a - b) ** 2 and |a - b|.
struct Losses {
  static constexpr int INPUTS = 2, RESULTS = 0, TOTALS = 2;
  static constexpr bool SEGMENTED = false;
  using Rounds = RoundsOf<SumsState<2>>;
  using Total = Real;
  const Element* input[2];
  Element* result[1];
  Real* total[2];
  struct Row {
    Real squares, distances;
  };
  struct Item {
    Real step;
  };
  TUNER_INLINE Row row(Index) const { return {}; }
  TUNER_INLINE Item item(const Row&, Index, const Real (&in)[2]) const { return {in[0] - in[1]}; }
  TUNER_INLINE Values<2> lift(Round<0>, const Row&, Index, const Item& item) const {
    return {item.step * item.step, fn::abs(item.step)};
  }
  TUNER_INLINE void close(Round<0>, Row& row, const SumsState<2>& s) const {
    row.squares = static_cast<Real>(s.value[0]), row.distances = static_cast<Real>(s.value[1]);
  }
  TUNER_INLINE void results(const Row&, Index, const Item&, Real (&)[1]) const {}
  TUNER_INLINE void totals(const Row& row, Real (&out)[2]) const { out[0] = row.squares, out[1] = row.distances; }
};

struct Tensors {
  const Element *a, *b;
  const Real* weight;
  Element *first, *second;
  void* totals;  // floats, or integers of 8 bytes: (which, row)
  long long rows;
};

// `launch` called with the functor of the number `which`.
template <class Launch>
int with_functor(int which, const Tensors& t, Launch launch) {
  Real* totals = static_cast<Real*>(t.totals);
  switch (which) {
    case 0:
      return launch(Softmax{{t.a}, {t.first}, {nullptr}});
    case 1:
      return launch(
          Norm{{t.a, t.b}, {t.first, t.second}, {totals, totals + t.rows, totals + 2 * t.rows}, t.weight});
    case 2:
      return launch(Largest{{t.a}, {nullptr}, {static_cast<long long*>(t.totals)}});
    default:
      return launch(Losses{{t.a, t.b}, {nullptr}, {totals, totals + t.rows}});
  }
}
