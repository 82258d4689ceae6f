#include "numerics/monoids.hpp"

// x[begin, end) in chunks of 4, then one by one.
template <class State>
static State reduced(const float* x, long long begin, long long end) {
  State state = State::identity();
  long long i = begin;
  for (; i + 4 <= end; i += 4) {
    const float v[4] = {x[i], x[i + 1], x[i + 2], x[i + 3]};
    state.add(v, i, 1);
  }
  for (; i < end; i++) {
    const float v[1] = {x[i]};
    state.add(v, i, 1);
  }
  return state;
}

// Of x[0, cut) and x[cut, n), with identities on both sides; out: two numbers.
template <class State, class Put>
static void of(const float* x, long long n, long long cut, Put put) {
  const State parts = State::merge(reduced<State>(x, 0, cut), reduced<State>(x, cut, n));
  put(State::merge(State::merge(State::identity(), parts), State::identity()));
}

extern "C" void run(const float* x, long long n, long long cut, double* out) {
  of<SumState>(x, n, cut, [&](auto s) { *out++ = s.value; });
  of<ProductState>(x, n, cut, [&](auto s) { *out++ = s.value; });
  of<MaxState>(x, n, cut, [&](auto s) { *out++ = s.value; });
  of<MinState>(x, n, cut, [&](auto s) { *out++ = s.value; });
  of<AnyState>(x, n, cut, [&](auto s) { *out++ = s.value; });
  of<AllState>(x, n, cut, [&](auto s) { *out++ = s.value; });
  of<MomentsState>(x, n, cut, [&](auto s) { *out++ = s.mean(), *out++ = s.variance(); });
  of<MaxSumState>(x, n, cut, [&](auto s) { *out++ = s.max, *out++ = s.sum; });
  of<ArgMaxState>(x, n, cut, [&](auto s) { *out++ = s.value, *out++ = s.index; });
  of<ArgMinState>(x, n, cut, [&](auto s) { *out++ = s.value, *out++ = s.index; });
}

extern "C" void sums(const float* x, long long n, double* out) {
  SumsState<2> state = SumsState<2>::identity();
  for (long long i = 0; i < n; i++) {
    const Values<2> v[1] = {{x[i], x[i] * x[i]}};
    state.add(v, i, 1);
  }
  state = SumsState<2>::merge(state, SumsState<2>::identity());
  out[0] = state.value[0], out[1] = state.value[1];
}
