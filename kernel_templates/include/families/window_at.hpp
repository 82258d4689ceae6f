// A pooling window's value at one place: for functors in which a reduction or a map follows the pooling, and for
// windows of any size. What is pooled of an element is any callable's.
//
// A Geometry is a struct of the emitted source:
//   static constexpr int kernel[3], stride[3], padding[3], dilation[3];   depth, height, width; ahead of fewer, 1 (0)
//   static constexpr Pool pool;
// Padding never wins a maximum and adds nothing to a sum. NaN wins a maximum.
#pragma once
#include "core/divide.hpp"
#include "core/portable.hpp"
#include "families/functor.hpp"
#include "numerics/element.hpp"

// mean divides by the window's places, padding included but not what lies beyond it; mean_valid by those of the plane.
enum class Pool { max, sum, mean, mean_valid };

struct PlaneSizes {
  Index depth, height, width, out_depth, out_height, out_width;
};

// The same, and what divides the number of a result by its plane's sizes. Made on the host.
struct WindowPlane {
  PlaneSizes sizes;
  Divider by_width, by_height;

  WindowPlane() = default;
  WindowPlane(long long depth, long long height, long long width, long long out_depth, long long out_height,
              long long out_width)
      : sizes{static_cast<Index>(depth),     static_cast<Index>(height),     static_cast<Index>(width),
              static_cast<Index>(out_depth), static_cast<Index>(out_height), static_cast<Index>(out_width)},
        by_width(sizes.out_width),
        by_height(sizes.out_height) {}
};

// One axis of a Geometry, in numbers that device code may name.
template <class Geometry, int AXIS>
struct WindowAxis {
  static constexpr int kernel = Geometry::kernel[AXIS], stride = Geometry::stride[AXIS];
  static constexpr int padding = Geometry::padding[AXIS], dilation = Geometry::dilation[AXIS];
};

TUNER_INLINE Real minus_infinity() { return -__builtin_huge_valf(); }

// The larger one; NaN wins.
TUNER_INLINE Real larger(Real a, Real b) {
#ifdef __CUDA_ARCH__
  Real wins;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(wins) : "f"(a), "f"(b));
  return wins;
#else
  const Real found = a > b ? a : b;
  return a != a ? a : found;
#endif
}

template <class Geometry>
TUNER_INLINE Real pool_nothing() {
  return Geometry::pool == Pool::max ? minus_infinity() : 0.0f;
}

template <class Geometry>
TUNER_INLINE Real pool_both(Real a, Real b) {
  return Geometry::pool == Pool::max ? larger(a, b) : a + b;
}

// Along one axis of a plane: a window's first element, and how many of its elements are counted by a mean.
template <class Geometry, int AXIS>
TUNER_INLINE int window_start(Index o) {
  using Along = WindowAxis<Geometry, AXIS>;
  return static_cast<int>(o) * Along::stride - Along::padding;
}

template <class Geometry, int AXIS>
TUNER_INLINE int window_count(Index o, Index size) {
  using Along = WindowAxis<Geometry, AXIS>;
  constexpr bool valid = Geometry::pool == Pool::mean_valid;
  const int start = window_start<Geometry, AXIS>(o), end = static_cast<int>(size) + (valid ? 0 : Along::padding);
  const int low = valid && start < 0 ? (-start + Along::dilation - 1) / Along::dilation : 0;
  const int high = (end - start + Along::dilation - 1) / Along::dilation;
  return (high < Along::kernel ? high : Along::kernel) - low;
}

// The window's value, of what its elements come to.
template <class Geometry>
TUNER_INLINE Real pool_end(const PlaneSizes& sizes, Index d, Index h, Index w, Real value) {
  if constexpr (Geometry::pool == Pool::mean || Geometry::pool == Pool::mean_valid) {
    const int count = window_count<Geometry, 0>(d, sizes.depth) * window_count<Geometry, 1>(h, sizes.height) *
                      window_count<Geometry, 2>(w, sizes.width);
    return value / static_cast<Real>(count);
  } else {
    return value;
  }
}

// value(i), the Real to be pooled of element i of the plane, pooled over the window of the result at (d, h, w).
template <class Geometry, class Value>
TUNER_INLINE Real window_at(const PlaneSizes& sizes, Index d, Index h, Index w, Value value) {
  using Depth = WindowAxis<Geometry, 0>;
  using Height = WindowAxis<Geometry, 1>;
  using Width = WindowAxis<Geometry, 2>;
  Real found = pool_nothing<Geometry>();
  for (int kd = 0; kd < Depth::kernel; kd++) {
    const Index z = static_cast<Index>(window_start<Geometry, 0>(d) + kd * Depth::dilation);
    if (z >= sizes.depth) continue;  // a negative one, too
    for (int kh = 0; kh < Height::kernel; kh++) {
      const Index y = static_cast<Index>(window_start<Geometry, 1>(h) + kh * Height::dilation);
      if (y >= sizes.height) continue;
      TUNER_UNROLL
      for (int kw = 0; kw < Width::kernel; kw++) {
        const Index x = static_cast<Index>(window_start<Geometry, 2>(w) + kw * Width::dilation);
        if (x < sizes.width) found = pool_both<Geometry>(found, value((z * sizes.height + y) * sizes.width + x));
      }
    }
  }
  return pool_end<Geometry>(sizes, d, h, w, found);
}

// The same of result i_out.
template <class Geometry, class Value>
TUNER_INLINE Real window_at(const PlaneSizes& sizes, Index i_out, Value value) {
  const Index line = i_out / sizes.out_width, w = i_out - line * sizes.out_width;
  const Index d = line / sizes.out_height, h = line - d * sizes.out_height;
  return window_at<Geometry>(sizes, d, h, w, value);
}

template <class Geometry, class Value>
TUNER_INLINE Real window_at(const WindowPlane& plane, Index i_out, Value value) {
  const Index line = plane.by_width.quotient(i_out), w = i_out - line * plane.sizes.out_width;
  const Index d = plane.by_height.quotient(line), h = line - d * plane.sizes.out_height;
  return window_at<Geometry>(plane.sizes, d, h, w, value);
}
