// Functors that the families of streams are tried with: one source for CUDA and the CPU. Each has operands of the row
// and of the place in it.
#pragma once
#include "families/functor.hpp"
#include "families/window_at.hpp"
#include "numerics/element.hpp"

// ---- map, turned ----

struct Affine {
  static constexpr int INPUTS = 2, RESULTS = 2;
  const Element* input[INPUTS];
  Element* result[RESULTS];
  const Element *scale, *shift;

  struct Row {
    Real scale;
  };
  TUNER_INLINE Row row(Index r) const { return {to_float(scale[r])}; }
  TUNER_INLINE void map(const Row& row, Index i, const Real (&in)[INPUTS], Real (&out)[RESULTS]) const {
    out[0] = in[0] * row.scale + to_float(shift[i]);
    out[1] = in[0] - in[1];
  }
};

struct Numbers {
  static constexpr int INPUTS = 0, RESULTS = 1;
  const Element* input[1];
  Element* result[RESULTS];

  struct Row {
    Real number;
  };
  TUNER_INLINE Row row(Index r) const { return {static_cast<Real>(r)}; }
  TUNER_INLINE void map(const Row& row, Index i, const Real (&)[1], Real (&out)[RESULTS]) const {
    out[0] = row.number - static_cast<Real>(i);
  }
};

// ---- windows ----

struct PooledBetween {
  static constexpr int INPUTS = 1, RESULTS = 1;
  const Element* input[INPUTS];
  Element* result[RESULTS];
  const Element *scale, *shift, *late;

  struct Row {
    Real scale;
  };
  TUNER_INLINE Row row(Index r) const { return {to_float(scale[r])}; }
  TUNER_INLINE Real before(const Row& row, Index i, const Real (&in)[INPUTS]) const {
    return in[0] * row.scale + to_float(shift[i]);
  }
  TUNER_INLINE void after(const Row& row, Index i, Real pooled, Real (&out)[RESULTS]) const {
    out[0] = pooled * row.scale + to_float(late[i]);
  }
};

struct Max2 {
  static constexpr int kernel[3] = {1, 2, 2}, stride[3] = {1, 2, 2}, padding[3] = {0, 0, 0}, dilation[3] = {1, 1, 1};
  static constexpr Pool pool = Pool::max;
};
struct Max4Overlapping {
  static constexpr int kernel[3] = {1, 4, 4}, stride[3] = {1, 1, 1}, padding[3] = {0, 1, 1}, dilation[3] = {1, 1, 1};
  static constexpr Pool pool = Pool::max;
};
struct MaxDilated {
  static constexpr int kernel[3] = {3, 3, 3}, stride[3] = {2, 2, 2}, padding[3] = {1, 1, 1}, dilation[3] = {3, 3, 3};
  static constexpr Pool pool = Pool::max;
};
struct Mean3 {
  static constexpr int kernel[3] = {3, 3, 3}, stride[3] = {2, 2, 2}, padding[3] = {1, 1, 1}, dilation[3] = {1, 1, 1};
  static constexpr Pool pool = Pool::mean;
};
struct MeanValid3 {
  static constexpr int kernel[3] = {1, 3, 3}, stride[3] = {1, 2, 2}, padding[3] = {0, 1, 1}, dilation[3] = {1, 1, 1};
  static constexpr Pool pool = Pool::mean_valid;
};
struct Max8OfLines {
  static constexpr int kernel[3] = {1, 1, 8}, stride[3] = {1, 1, 1}, padding[3] = {0, 0, 4}, dilation[3] = {1, 1, 3};
  static constexpr Pool pool = Pool::max;
};
struct MeanTall {  // too high to be unrolled
  static constexpr int kernel[3] = {1, 80, 5}, stride[3] = {1, 3, 5}, padding[3] = {0, 2, 0}, dilation[3] = {1, 1, 1};
  static constexpr Pool pool = Pool::mean;
};

// ---- scan ----

template <bool PRODUCTS, bool FROM_THE_END, bool WITHOUT_OWN>
struct ScannedBetween {
  static constexpr int INPUTS = 2, RESULTS = 1;
  static constexpr bool product = PRODUCTS, reverse = FROM_THE_END, exclusive = WITHOUT_OWN;
  const Element* input[INPUTS];
  Element* result[RESULTS];
  const Element *scale, *shift;

  struct Row {
    Real scale;
  };
  TUNER_INLINE Row row(Index r) const { return {to_float(scale[r])}; }
  TUNER_INLINE Real lift(const Row& row, Index i, const Real (&in)[INPUTS]) const {
    return in[0] * row.scale + to_float(shift[i]);
  }
  TUNER_INLINE void results(const Row&, Index i, const Real (&in)[INPUTS], Real running, Real (&out)[RESULTS]) const {
    out[0] = running + in[1] - to_float(shift[i]);
  }
};
