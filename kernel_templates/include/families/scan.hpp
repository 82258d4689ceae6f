// Running sums and products along an axis on the CPU, with maps before and after.
//
// The axis is innermost: a row's sums run in vectors of eight floats, and from vector to vector in double; its products,
// and what is double, in double throughout. Else: columns side by side run in double.
//
// Schedule, as cpu_space.py has it: threads, grain, block.
#pragma once
#include "core/vectorised.hpp"  // ahead of all others

#include <algorithm>
#include <type_traits>

#include "core/parallel.hpp"
#include "core/turn.hpp"
#include "families/functor.hpp"
#include "numerics/blocks.hpp"

template <class F, class T>
inline T run_on(T a, T b) {
  return F::product ? a * b : a + b;
}

// What the values of a vector come to, each with those before it in the direction of the scan.
template <bool REVERSE_ORDER>
inline Floats<8> sums_within(Floats<8> v) {
  const Floats<8> nothing{};
  if constexpr (REVERSE_ORDER) {
    v += TUNER_MIX(v, nothing, 1, 2, 3, 4, 5, 6, 7, 8);
    v += TUNER_MIX(v, nothing, 2, 3, 4, 5, 6, 7, 8, 9);
    return v + TUNER_MIX(v, nothing, 4, 5, 6, 7, 8, 9, 10, 11);
  } else {
    v += TUNER_MIX(v, nothing, 8, 0, 1, 2, 3, 4, 5, 6);
    v += TUNER_MIX(v, nothing, 8, 9, 0, 1, 2, 3, 4, 5);
    return v + TUNER_MIX(v, nothing, 8, 9, 10, 11, 0, 1, 2, 3);
  }
}

// In place, values[0, count) become what runs over them, after `carry`; there is room for whole vectors. Returns what
// all come to.
template <class F, class T>
inline double scan_values(T* values, int count, double carry) {
  if constexpr (F::product || std::is_same_v<T, double>) {
    for (int j = 0; j < count; j++) {
      T& value = values[F::reverse ? count - 1 - j : j];
      const double before = carry;
      carry = F::product ? carry * value : carry + value;
      value = static_cast<T>(F::exclusive ? before : carry);
    }
  } else {
    const int vectors = (count + 7) / 8;
    for (int j = count; j < vectors * 8; j++) values[j] = 0.0f;
    for (int j = 0; j < vectors; j++) {
      T* const at = values + 8 * (F::reverse ? vectors - 1 - j : j);
      const Floats<8> through = sums_within<F::reverse>(load<8>(at)), nothing{};
      Floats<8> own = through;
      if constexpr (F::exclusive && F::reverse) own = TUNER_MIX(through, nothing, 1, 2, 3, 4, 5, 6, 7, 8);
      if constexpr (F::exclusive && !F::reverse) own = TUNER_MIX(through, nothing, 8, 0, 1, 2, 3, 4, 5, 6);
      store<8>(at, own + static_cast<T>(carry));
      carry += through[F::reverse ? 0 : 7];
    }
  }
  return carry;
}

template <int B, class F>
void scan_row(const F& f, long long r, long long length) {
  const auto row = f.row(static_cast<Index>(r));
  double carry = F::product ? 1.0 : 0.0;
  Real room[places(F::INPUTS)][B], values[B + 8], made[B];
  const Real* held[places(F::INPUTS)] = {};
  for (long long done = 0; done < length; done += B) {
    const int count = static_cast<int>(std::min<long long>(B, length - done));
    const auto i = static_cast<Index>(F::reverse ? length - done - count : done), end = i + count;
    for (int k = 0; k < F::INPUTS; k++) held[k] = floats_of(f.input[k] + r * length + i, room[k], count);
    for (Index at = i; at < end; at++) {
      Real in[places(F::INPUTS)];
      for (int k = 0; k < F::INPUTS; k++) in[k] = held[k][at - i];
      values[at - i] = f.lift(row, at, in);
    }
    carry = scan_values<F>(values, count, carry);
    for (Index at = i; at < end; at++) {
      Real in[places(F::INPUTS)], out[1];
      for (int k = 0; k < F::INPUTS; k++) in[k] = held[k][at - i];
      f.results(row, at, in, values[at - i], out);
      made[at - i] = out[0];
    }
    store_floats(made, f.result[0] + r * length + i, count);
  }
}

// `count` columns from `first` on, of the same outer one, B at most.
template <int B, class F>
void scan_columns(const F& f, long long first, int count, long long length, long long inner) {
  typename F::Row rows[B];
  double running[B];
  Real room[places(F::INPUTS)][B], made[B];
  const Real* held[places(F::INPUTS)] = {};
  for (int w = 0; w < count; w++) rows[w] = f.row(static_cast<Index>(first + w));
  for (int w = 0; w < count; w++) running[w] = F::product ? 1.0 : 0.0;
  const long long outer = first / inner, start = outer * length * inner + (first - outer * inner);
  for (long long done = 0; done < length; done++) {
    const auto i = static_cast<Index>(F::reverse ? length - 1 - done : done);
    for (int k = 0; k < F::INPUTS; k++) held[k] = floats_of(f.input[k] + start + i * inner, room[k], count);
    for (int w = 0; w < count; w++) {
      Real in[places(F::INPUTS)], out[1];
      for (int k = 0; k < F::INPUTS; k++) in[k] = held[k][w];
      const double before = running[w], now = run_on<F>(before, static_cast<double>(f.lift(rows[w], i, in)));
      running[w] = now;
      f.results(rows[w], i, in, static_cast<Real>(F::exclusive ? before : now), out);
      made[w] = out[0];
    }
    store_floats(made, f.result[0] + start + i * inner, count);
  }
}

// Columns (outer x inner) and length below 2^32.
template <class Schedule, class F>
int launch_scan(const F& functor, long long outer, long long length, long long inner, void*) {
  constexpr int B = Schedule::block;
  if (outer * inner > ~Index{0} || length > ~Index{0}) return 1;
  if (outer * length * inner == 0) return 0;
  const long long side = inner == 1 ? 1 : B, across = ceil_div(inner, side);
  const long long grain = std::max(1LL, Schedule::grain * 1024LL / (std::min(side, inner) * length));
  parallel_for(outer * across, grain, Schedule::threads, [&](long long begin, long long end) {
    const F f = functor;  // nobody else's: what is written cannot be part of it
    for (long long t = begin; t < end; t++) {
      if (inner == 1) {
        scan_row<B>(f, t, length);
      } else {
        const long long o = t / across, at = (t - o * across) * side;
        scan_columns<B>(f, o * inner + at, static_cast<int>(std::min(side, inner - at)), length, inner);
      }
    }
  });
  return 0;
}
