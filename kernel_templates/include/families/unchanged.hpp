// The functor of what is only moved: one tensor, as it is.
#pragma once
#include "families/functor.hpp"
#include "numerics/element.hpp"

struct Unchanged {
  static constexpr int INPUTS = 1, RESULTS = 1;
  const Element* input[1];
  Element* result[1];
  struct Row {};
  TUNER_INLINE Row row(Index) const { return {}; }
  TUNER_INLINE void map(const Row&, Index, const float (&in)[1], float (&out)[1]) const { out[0] = in[0]; }
};
