// Whether a functor's tensors start where a load of V elements may.
#pragma once
#include "core/pack.cuh"
#include "numerics/element.hpp"

template <int V, class F>
inline bool inputs_aligned(const F& f) {
  bool all = true;
  for (int k = 0; k < F::INPUTS; k++) all = all && is_aligned<Element, V>(f.input[k]);
  return all;
}

template <int V, class F>
inline bool results_aligned(const F& f) {
  bool all = true;
  for (int k = 0; k < F::RESULTS; k++) all = all && is_aligned<Element, V>(f.result[k]);
  return all;
}
