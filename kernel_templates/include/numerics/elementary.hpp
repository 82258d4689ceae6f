// exp, log and their like for the CPU, by polynomials without branches and calls: GCC makes vectors of a loop of them.
//
// An argument is split into what a power of two gives exactly and a rest on which a polynomial holds; every special
// case is a selection at the end. Errors: see tests/kernel_templates/test_functions.py, which has them in units in the
// last place.
#pragma once
#include "core/vectorised.hpp"  // ahead of all others

#include <cmath>
#include <cstdint>
#include <cstring>

#define TUNER_FUNCTION inline __attribute__((always_inline))

namespace elementary {

TUNER_FUNCTION std::int32_t bits_of(float x) {
  std::int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

TUNER_FUNCTION float float_of(std::int32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// x = power * ln 2 + rest, |rest| <= ln 2 / 2.
struct Split {
  std::int32_t power;
  float rest;
};

constexpr float to_integer = 12582912.0f;  // 1.5 * 2^23: a small float added to it is rounded to an integer, in its bits
constexpr float ln2_high = 0.693145752f, ln2_low = 1.42860677e-6f;

TUNER_FUNCTION Split split(float x) {
  const float rounded = x * 1.44269504f + to_integer, n = rounded - to_integer;
  return {bits_of(rounded) - bits_of(to_integer), (x - n * ln2_high) - n * ln2_low};
}

TUNER_FUNCTION float power_of_two(std::int32_t n) { return float_of((n + 127) << 23); }  // -126 <= n <= 127

// exp(r) - 1 - r over r^2 for |r| <= ln 2 / 2.
TUNER_FUNCTION float beyond_linear(float r) {
  float p = 1.98529130e-4f;
  p = p * r + 1.39328330e-3f;
  p = p * r + 8.33345205e-3f;
  p = p * r + 4.16664183e-2f;
  p = p * r + 1.66666657e-1f;
  return p * r + 0.5f;
}

// exp(rest) * 2^power for results down to the smallest subnormal: a power of two beyond a float's is two factors.
TUNER_FUNCTION float scaled_exp(Split s) {
  const std::int32_t half = s.power >> 1;
  const float p = beyond_linear(s.rest) * (s.rest * s.rest) + s.rest + 1.0f;
  return p * power_of_two(half) * power_of_two(s.power - half);
}

TUNER_FUNCTION float within(float x, float low, float high) {  // NaN stays
  const float above = x < low ? low : x;
  return above > high ? high : above;
}

// exp(x) where that is a normal number: the power goes into the exponent's bits.
TUNER_FUNCTION float normal_exp(float x) {
  const float rounded = x * 1.44269504f + to_integer, n = rounded - to_integer;
  const float rest = (x - n * ln2_high) - n * ln2_low;
  const float p = beyond_linear(rest) * (rest * rest) + rest + 1.0f;
  return float_of(static_cast<std::int32_t>(static_cast<std::uint32_t>(bits_of(p)) +
                                            (static_cast<std::uint32_t>(bits_of(rounded)) << 23)));
}

// Results below the least normal number are 0.
TUNER_FUNCTION float exp(float x) {
  const float found = normal_exp(x), above = x < -87.3365448f ? 0.0f : found;
  return x <= 88.7228317f ? above : x * HUGE_VALF;  // NaN stays
}

TUNER_FUNCTION float exp2(float x) {
  const float bounded = within(x, -151.0f, 129.0f), rounded = bounded + to_integer;
  return scaled_exp({bits_of(rounded) - bits_of(to_integer), (bounded - (rounded - to_integer)) * 0.693147181f});
}

TUNER_FUNCTION float expm1(float x) {
  const Split s = split(within(x, -20.0f, 89.0f));
  const float p = beyond_linear(s.rest) * (s.rest * s.rest) + s.rest, half = power_of_two(s.power - 1);
  const float found = 2.0f * (p * half + (half - 0.5f));
  return x == 0.0f ? x : found;  // -0 stays
}

// x = (1 + fraction) * 2^power with 1 + fraction between sqrt(1/2) and sqrt(2), for normal x.
struct Parts {
  float power, fraction;
};

TUNER_FUNCTION Parts parts(float x) {
  const std::int32_t root = 0x3f3504f3, power = (bits_of(x) - root) >> 23;
  return {static_cast<float>(power), float_of(bits_of(x) - (power << 23)) - 1.0f};
}

// log(1 + f) - f
TUNER_FUNCTION float below_linear(float f) {
  const float square = f * f;
  float p = 7.0376836292e-2f;
  p = p * f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  return p * (f * square) - 0.5f * square;
}

// The logarithm of what `found` is one of, where x is in its domain and finite.
TUNER_FUNCTION float in_domain(float x, float found) {
  const float infinite = x == HUGE_VALF ? x : found, zero = x == 0.0f ? -HUGE_VALF : infinite;
  return x < 0.0f ? NAN : x != x ? x : zero;
}

TUNER_FUNCTION Parts parts_of_any(float x) {  // subnormal x too
  const bool is_small = x < 0x1p-126f;
  const Parts of = parts(is_small ? x * 0x1p24f : x);
  return {is_small ? of.power - 24.0f : of.power, of.fraction};
}

TUNER_FUNCTION float log(float x) {
  const Parts of = parts_of_any(x);
  return in_domain(x, (below_linear(of.fraction) + of.power * ln2_low) + of.fraction + of.power * ln2_high);
}

TUNER_FUNCTION float log2(float x) {
  const Parts of = parts_of_any(x);
  constexpr float high = 1.4426950216293335f, low = 1.9259629911266175e-8f;  // of 1 / ln 2
  const float rest = below_linear(of.fraction);
  return in_domain(x, ((rest * high + of.fraction * low) + of.fraction * high) + of.power);
}

// log(u) for the rounded u = 1 + x, and what the rounding took.
TUNER_FUNCTION float log1p(float x) {
  const float u = 1.0f + x, lost = x - (u - 1.0f);
  const Parts of = parts(u);
  const float rest = below_linear(of.fraction) + of.power * ln2_low + lost / u;
  const float found = in_domain(u, rest + of.fraction + of.power * ln2_high);
  return x == 0.0f ? x : found;
}

TUNER_FUNCTION float tanh(float x) {
  const float t = expm1(-2.0f * fabsf(x));
  return copysignf(t / (t + 2.0f), x);
}

TUNER_FUNCTION float erf(float x) {
  const float t = fabsf(x), s = x * x;
  const float u = t < 4.0f ? t : 4.0f;  // from there on it is 1
  float far = -1.72853470e-5f * u + 3.83197126e-4f;
  far = far * (u * u) + (-3.88396438e-3f * u + 2.42546219e-2f);
  far = far * u - 1.06777877e-1f;
  far = far * u - 6.34846687e-1f;
  far = far * u - 1.28717512e-1f;
  far = 1.0f - normal_exp(far * u - u);
  float near = -5.96761703e-4f;
  near = near * s + 4.99119423e-3f;
  near = near * s - 2.67681349e-2f;
  near = near * s + 1.12819925e-1f;
  near = near * s - 3.76125336e-1f;
  near = near * s + 1.28379166e-1f;
  near = near * x + x;
  return t > 0.927734375f ? copysignf(far, x) : near;
}

}  // namespace elementary
