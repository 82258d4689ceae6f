// Maps over rows of elements on the CPU, several tensors in and out: each element is read once and written once.
//
// A thread takes a run of the whole and computes it block by block: GCC makes vectors of a loop over a block, whose
// results lie in memory of its own, which no operand can be.
//
// Schedule, as cpu_space.py has it: threads, grain, block, streaming.
#pragma once
#include "core/vectorised.hpp"  // ahead of all others

#include <algorithm>

#include "core/parallel.hpp"
#include "families/functor.hpp"
#include "numerics/blocks.hpp"

// Elements [i, end) of a row, the first at `address`; B of them at most.
template <int B, bool ONCE, class F>
TUNER_APART void map_block(const F& f, const typename F::Row& row, Index i, Index end, long long address) {
  Real room[places(F::INPUTS)][sizeof(Element) < sizeof(Real) ? B : 1], made[places(F::RESULTS)][B];
  const Real* held[places(F::INPUTS)] = {};
  const int count = static_cast<int>(end - i);
  for (int k = 0; k < F::INPUTS; k++) held[k] = floats_of(f.input[k] + address, room[k], count);
  for (Index at = i; at < end; at++) {
    Real in[places(F::INPUTS)], out[places(F::RESULTS)];
    for (int k = 0; k < F::INPUTS; k++) in[k] = held[k][at - i];
    f.map(row, at, in, out);
    for (int k = 0; k < F::RESULTS; k++) made[k][at - i] = out[k];
  }
  for (int k = 0; k < F::RESULTS; k++) store_block<ONCE>(made[k], f.result[k] + address, count);
}

// Elements [begin, end) of the whole.
template <class Schedule, class F>
void map_run(const F& functor, long long begin, long long end, long long length) {
  const F f = functor;  // nobody else's: what is written cannot be part of it
  while (begin < end) {
    const long long r = begin / length, start = r * length, last = std::min(end, start + length);
    const auto row = f.row(static_cast<Index>(r));
    for (; begin < last; begin += Schedule::block) {
      const auto i = static_cast<Index>(begin - start);
      const auto next = static_cast<Index>(std::min<long long>(begin + Schedule::block, last) - start);
      map_block<Schedule::block, Schedule::streaming>(f, row, i, next, begin);
    }
    begin = last;
  }
  if (Schedule::streaming) past_caches();
}

// rows and length below 2^32.
template <class Schedule, class F>
int launch_map(const F& f, long long rows, long long length, void*) {
  if (rows > ~Index{0} || length > ~Index{0}) return 1;
  parallel_for(rows * length, Schedule::grain * 1024LL, Schedule::threads,
               [&](long long begin, long long end) { map_run<Schedule>(f, begin, end, length); });
  return 0;
}
