// Functions of one element, under the names that tuner/drafting/scalars.py gives them, as PyTorch computes them: NaN
// and Inf go the ways that they go there. Truth values are 0 and 1.
//
// Errors are of one or two units in the last place, as far as a result is no subnormal number. On the CPU, what
// numerics/elementary.hpp has is free of branches and calls, so that a loop over a block of elements becomes vectors;
// pow, fmod, sin, cos, tan, sinh, cosh and atan are the library's, and keep a loop from that.
#pragma once
#include <cmath>

#ifdef __CUDACC__
#include "core/portable.hpp"
#define TUNER_FUNCTION TUNER_INLINE
#else
#include "numerics/elementary.hpp"
#include "numerics/wide.hpp"
#endif

namespace fn {

#ifdef __CUDACC__
TUNER_FUNCTION float exp(float x) { return expf(x); }
TUNER_FUNCTION float expm1(float x) { return expm1f(x); }
TUNER_FUNCTION float exp2(float x) { return exp2f(x); }
TUNER_FUNCTION float log(float x) { return logf(x); }
TUNER_FUNCTION float log1p(float x) { return log1pf(x); }
TUNER_FUNCTION float log2(float x) { return log2f(x); }
TUNER_FUNCTION float tanh(float x) { return tanhf(x); }
TUNER_FUNCTION float erf(float x) { return erff(x); }
TUNER_FUNCTION float rsqrt(float x) { return rsqrtf(x); }
#else
using elementary::erf;  // beside those in double
using elementary::exp;
using elementary::exp2;
using elementary::expm1;
using elementary::log;
using elementary::log1p;
using elementary::log2;
using elementary::tanh;
TUNER_FUNCTION float rsqrt(float x) { return 1.0f / sqrtf(x); }
#endif

// a / b to two units; no branch for what is out of a float's normal range.
TUNER_FUNCTION float quotient(float a, float b) {
#ifdef __CUDA_ARCH__
  return __fdividef(a, b);
#else
  return a / b;
#endif
}

// ---- arithmetic ----

TUNER_FUNCTION float add(float a, float b) { return a + b; }
TUNER_FUNCTION float sub(float a, float b) { return a - b; }
TUNER_FUNCTION float mul(float a, float b) { return a * b; }
TUNER_FUNCTION float div(float a, float b) { return a / b; }
TUNER_FUNCTION float neg(float x) { return -x; }
TUNER_FUNCTION float abs(float x) { return fabsf(x); }
TUNER_FUNCTION float square(float x) { return x * x; }
TUNER_FUNCTION float reciprocal(float x) { return 1.0f / x; }
TUNER_FUNCTION float pow(float x, float y) { return powf(x, y); }
TUNER_FUNCTION float fmod(float x, float y) { return fmodf(x, y); }
TUNER_FUNCTION float floor(float x) { return floorf(x); }
TUNER_FUNCTION float ceil(float x) { return ceilf(x); }
TUNER_FUNCTION float trunc(float x) { return truncf(x); }
TUNER_FUNCTION float round(float x) { return rintf(x); }  // halves to even
TUNER_FUNCTION float sign(float x) { return (x > 0.0f ? 1.0f : 0.0f) - (x < 0.0f ? 1.0f : 0.0f); }

TUNER_FUNCTION float maximum(float a, float b) {
#ifdef __CUDA_ARCH__
  float m;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(m) : "f"(a), "f"(b));
  return m;
#else
  const float larger = a > b ? a : b;
  return a != a ? a : larger;
#endif
}

TUNER_FUNCTION float minimum(float a, float b) {
#ifdef __CUDA_ARCH__
  float m;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(m) : "f"(a), "f"(b));
  return m;
#else
  const float smaller = a < b ? a : b;
  return a != a ? a : smaller;
#endif
}

// NaN stays; where low > high, high.
TUNER_FUNCTION float clamp(float x, float low, float high) { return minimum(maximum(x, low), high); }

// ---- elementary, the library's ----

TUNER_FUNCTION float sqrt(float x) { return sqrtf(x); }
TUNER_FUNCTION float sin(float x) { return sinf(x); }
TUNER_FUNCTION float cos(float x) { return cosf(x); }
TUNER_FUNCTION float tan(float x) { return tanf(x); }
TUNER_FUNCTION float sinh(float x) { return sinhf(x); }
TUNER_FUNCTION float cosh(float x) { return coshf(x); }
TUNER_FUNCTION float atan(float x) { return atanf(x); }

// ---- activations ----

TUNER_FUNCTION float relu(float x) { return maximum(x, 0.0f); }
TUNER_FUNCTION float leaky_relu(float x, float slope) { return x > 0.0f ? x : x * slope; }

TUNER_FUNCTION float elu(float x, float alpha, float scale, float input_scale) {
  const float below = expm1(x * input_scale) * (alpha * scale), above = x * scale;
  return x < 0.0f ? below : above;
}

TUNER_FUNCTION float gelu(float x) { return 0.5f * x * (1.0f + erf(x * 0.70710678f)); }

// x (1 + tanh(u)) / 2 is x / (1 + exp(-2 u)).
TUNER_FUNCTION float gelu_tanh(float x) {
  const float u = 0.79788456f * (x + 0.044715f * (x * x * x));
  return quotient(x, 1.0f + exp(-2.0f * u));
}

TUNER_FUNCTION float sigmoid(float x) { return quotient(1.0f, 1.0f + exp(-x)); }
TUNER_FUNCTION float silu(float x) { return quotient(x, 1.0f + exp(-x)); }

// tanh(log(1 + e)) is ((1 + e)^2 - 1) / ((1 + e)^2 + 1), and 1 in float from x = 9 on.
TUNER_FUNCTION float mish(float x) {
  const float e = exp(x < 20.0f ? x : 20.0f), n = e * (e + 2.0f);
  const float below = x * quotient(n, n + 2.0f);
  return x > 20.0f ? x : below;
}

TUNER_FUNCTION float log_sigmoid(float x) { return minimum(x, 0.0f) - log1p(exp(-fabsf(x))); }

TUNER_FUNCTION float softplus(float x, float beta, float threshold) {
  const float below = log1p(exp(x * beta)) / beta;
  return x * beta > threshold ? x : below;
}

TUNER_FUNCTION float softsign(float x) { return x / (1.0f + fabsf(x)); }
TUNER_FUNCTION float hardsigmoid(float x) { return clamp(x + 3.0f, 0.0f, 6.0f) * (1.0f / 6.0f); }
TUNER_FUNCTION float hardswish(float x) { return x * clamp(x + 3.0f, 0.0f, 6.0f) * (1.0f / 6.0f); }

// ---- truth values ----

TUNER_FUNCTION float lt(float a, float b) { return a < b ? 1.0f : 0.0f; }
TUNER_FUNCTION float le(float a, float b) { return a <= b ? 1.0f : 0.0f; }
TUNER_FUNCTION float gt(float a, float b) { return a > b ? 1.0f : 0.0f; }
TUNER_FUNCTION float ge(float a, float b) { return a >= b ? 1.0f : 0.0f; }
TUNER_FUNCTION float eq(float a, float b) { return a == b ? 1.0f : 0.0f; }
TUNER_FUNCTION float ne(float a, float b) { return a != b ? 1.0f : 0.0f; }
TUNER_FUNCTION float logical_and(float a, float b) { return (a != 0.0f) & (b != 0.0f) ? 1.0f : 0.0f; }
TUNER_FUNCTION float logical_or(float a, float b) { return (a != 0.0f) | (b != 0.0f) ? 1.0f : 0.0f; }
TUNER_FUNCTION float logical_not(float x) { return x == 0.0f ? 1.0f : 0.0f; }
TUNER_FUNCTION float isnan(float x) { return x != x ? 1.0f : 0.0f; }
TUNER_FUNCTION float isinf(float x) { return fabsf(x) == HUGE_VALF ? 1.0f : 0.0f; }
TUNER_FUNCTION float where(float condition, float a, float b) { return condition != 0.0f ? a : b; }

// ---- of a maximum, and of the sum of exp(x - maximum) ----

TUNER_FUNCTION float log_sum_exp(float max, float sum) {
  const float finite = max + log(sum);
  return fabsf(max) == HUGE_VALF ? max : finite;
}

TUNER_FUNCTION float exp_less(float x, float max) { return exp(x - max); }

}  // namespace fn
