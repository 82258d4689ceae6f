// The functions of numerics/functions.hpp in double, on the CPU, by the library's: for elements that are double. A loop of
// those that are calls is no loop of vectors.
#pragma once
#include <cmath>

namespace fn {

inline double exp(double x) { return std::exp(x); }
inline double expm1(double x) { return std::expm1(x); }
inline double exp2(double x) { return std::exp2(x); }
inline double log(double x) { return std::log(x); }
inline double log1p(double x) { return std::log1p(x); }
inline double log2(double x) { return std::log2(x); }
inline double tanh(double x) { return std::tanh(x); }
inline double erf(double x) { return std::erf(x); }
inline double sqrt(double x) { return std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline double sin(double x) { return std::sin(x); }
inline double cos(double x) { return std::cos(x); }
inline double tan(double x) { return std::tan(x); }
inline double sinh(double x) { return std::sinh(x); }
inline double cosh(double x) { return std::cosh(x); }
inline double atan(double x) { return std::atan(x); }
inline double quotient(double a, double b) { return a / b; }

// ---- arithmetic ----

inline double add(double a, double b) { return a + b; }
inline double sub(double a, double b) { return a - b; }
inline double mul(double a, double b) { return a * b; }
inline double div(double a, double b) { return a / b; }
inline double neg(double x) { return -x; }
inline double abs(double x) { return std::fabs(x); }
inline double square(double x) { return x * x; }
inline double reciprocal(double x) { return 1.0 / x; }
inline double pow(double x, double y) { return std::pow(x, y); }
inline double fmod(double x, double y) { return std::fmod(x, y); }
inline double floor(double x) { return std::floor(x); }
inline double ceil(double x) { return std::ceil(x); }
inline double trunc(double x) { return std::trunc(x); }
inline double round(double x) { return std::rint(x); }  // halves to even
inline double sign(double x) { return (x > 0.0 ? 1.0 : 0.0) - (x < 0.0 ? 1.0 : 0.0); }

inline double maximum(double a, double b) {
  const double larger = a > b ? a : b;
  return a != a ? a : larger;
}

inline double minimum(double a, double b) {
  const double smaller = a < b ? a : b;
  return a != a ? a : smaller;
}

// NaN stays; where low > high, high.
inline double clamp(double x, double low, double high) { return minimum(maximum(x, low), high); }

// ---- activations ----

inline double relu(double x) { return maximum(x, 0.0); }
inline double leaky_relu(double x, double slope) { return x > 0.0 ? x : x * slope; }

inline double elu(double x, double alpha, double scale, double input_scale) {
  return x < 0.0 ? expm1(x * input_scale) * (alpha * scale) : x * scale;
}

inline double gelu(double x) { return 0.5 * x * (1.0 + erf(x * 0.70710678118654752440)); }

inline double gelu_tanh(double x) {
  return 0.5 * x * (1.0 + tanh(0.79788456080286535588 * (x + 0.044715 * (x * x * x))));
}

inline double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
inline double silu(double x) { return x / (1.0 + exp(-x)); }
inline double mish(double x) { return x * tanh(x > 20.0 ? x : log1p(exp(x))); }
inline double log_sigmoid(double x) { return minimum(x, 0.0) - log1p(exp(-abs(x))); }

inline double softplus(double x, double beta, double threshold) {
  return x * beta > threshold ? x : log1p(exp(x * beta)) / beta;
}

inline double softsign(double x) { return x / (1.0 + abs(x)); }
inline double hardsigmoid(double x) { return clamp(x + 3.0, 0.0, 6.0) / 6.0; }
inline double hardswish(double x) { return x * clamp(x + 3.0, 0.0, 6.0) / 6.0; }

// ---- truth values ----

inline double lt(double a, double b) { return a < b ? 1.0 : 0.0; }
inline double le(double a, double b) { return a <= b ? 1.0 : 0.0; }
inline double gt(double a, double b) { return a > b ? 1.0 : 0.0; }
inline double ge(double a, double b) { return a >= b ? 1.0 : 0.0; }
inline double eq(double a, double b) { return a == b ? 1.0 : 0.0; }
inline double ne(double a, double b) { return a != b ? 1.0 : 0.0; }
inline double logical_and(double a, double b) { return a != 0.0 && b != 0.0 ? 1.0 : 0.0; }
inline double logical_or(double a, double b) { return a != 0.0 || b != 0.0 ? 1.0 : 0.0; }
inline double logical_not(double x) { return x == 0.0 ? 1.0 : 0.0; }
inline double isnan(double x) { return x != x ? 1.0 : 0.0; }
inline double isinf(double x) { return abs(x) == HUGE_VAL ? 1.0 : 0.0; }
inline double where(double condition, double a, double b) { return condition != 0.0 ? a : b; }

// ---- of a maximum, and of the sum of exp(x - maximum) ----

inline double log_sum_exp(double max, double sum) { return abs(max) == HUGE_VAL ? max : max + log(sum); }
inline double exp_less(double x, double max) { return exp(x - max); }

}  // namespace fn
