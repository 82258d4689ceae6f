// Activations, each one functor: of a float in CUDA kernels, of a float or of a vector of floats on the CPU.
//
// A functor works in a unit of its own: activation(y) = SCALE * A()(y / SCALE). Who calls it multiplies y by some factor
// and adds a bias anyway, so a division of both by SCALE is free, and so is SCALE where it multiplies statistics at the
// end. Hardswish in sixths, y = 6 z, needs no constants in registers: y * relu6(y + 3) / 6 = 6 * z * saturate(z + 1/2).
// `activated` takes a plain y and gives the plain result.
//
// LINEAR says that statistics of y may be taken before y is scaled and its bias added.
//
// NaN gives NaN, everywhere. Hardswish of -Inf is NaN, as by its definition.
#pragma once
#include "core/portable.hpp"

// Between 0 and 1; NaN gives 0.
template <class T>
TUNER_INLINE T saturate(T v) {
#ifdef __CUDA_ARCH__
  return __saturatef(v);
#else
  v = v > 0.0f ? v : T{};
  return v < 1.0f ? v : T{} + 1.0f;
#endif
}

struct Identity {
  static constexpr float SCALE = 1.0f;
  static constexpr bool LINEAR = true;
  template <class T>
  TUNER_INLINE T operator()(T v) const {
    return v;
  }
};

struct Relu {
  static constexpr float SCALE = 1.0f;
  static constexpr bool LINEAR = false;
  template <class T>
  TUNER_INLINE T operator()(T v) const {
    return v < 0.0f ? T{} : v;
  }
};

struct Hardswish {
  static constexpr float SCALE = 6.0f;
  static constexpr bool LINEAR = false;
  template <class T>
  TUNER_INLINE T operator()(T v) const {
    return v * saturate(v + 0.5f);
  }
};

template <class Activation, class T>
TUNER_INLINE T activated(T y) {
  if constexpr (Activation::SCALE == 1.0f) {
    return Activation()(y);
  } else {
    return Activation()(y * (1.0f / Activation::SCALE)) * Activation::SCALE;
  }
}
