// Columns on the CPU: rounds of reductions over an axis that is not the innermost, and maps of what they found. Softmax
// or a norm over the channels of NCHW, sums over dim 1, statistics of channels-last tensors.
//
// Some columns side by side are taken together and turned over on their way, so that what is computed of a column is
// what is computed of a row; see rounds.hpp.
//
// Schedule, as cpu_space.py has it: threads, grain, block, columns, keep.
#pragma once
#include "core/turn.hpp"
#include "families/rounds.hpp"

// `count` positions of `side` columns to room[u * B + position], and back; positions lie `inner` apart.
template <int B, int W>
inline void turn_in(const Real* from, long long inner, int count, int side, Real* room) {
  turn(from, inner, room, B, count, side);
}

template <int B, int W, class T>
inline void turn_in(const T* from, long long inner, int count, int side, Real* room) {
  Real some[8 * W];
  for (int first = 0; first < count; first += 8) {
    const int here = std::min(8, count - first);
    for (int j = 0; j < here; j++) floats_of(from + (first + j) * inner, some + j * W, side);
    turn(some, W, room + first, B, here, side);
  }
}

template <int B, int W>
inline void turn_out(const Real* made, Real* to, long long inner, int count, int side) {
  turn(made, B, to, inner, side, count);
}

template <int B, int W, class T>
inline void turn_out(const Real* made, T* to, long long inner, int count, int side) {
  Real some[8 * W];
  for (int first = 0; first < count; first += 8) {
    const int here = std::min(8, count - first);
    turn(made + first, B, some, W, side, here);
    for (int j = 0; j < here; j++) store_floats(some + j * W, to + (first + j) * inner, side);
  }
}

template <int W>
struct ColumnsLayout {
  static constexpr int SIDE = W;
  long long outer, length, inner;

  long long tiles_across() const { return ceil_div(inner, W); }
  long long tiles() const { return outer * tiles_across(); }
  long long positions() const { return length; }
  Tile tile(long long t) const {
    const long long o = t / tiles_across(), side = (t - o * tiles_across()) * W;
    return {o * inner + side, static_cast<int>(std::min<long long>(W, inner - side))};
  }
  long long address(Tile tile, long long i) const {
    const long long o = tile.first / inner;
    return (o * length + i) * inner + (tile.first - o * inner);
  }

  template <int B>
  const Real* load(const Element* p, Tile tile, long long i, int count, Real* room) const {
    const Element* from = p + address(tile, i);
    if (inner == 1) return floats_of(from, room, count);
    turn_in<B, W>(from, inner, count, tile.count, room);
    return room;
  }

  template <int B>
  void store(const Real* made, Element* p, Tile tile, long long i, int count) const {
    Element* to = p + address(tile, i);
    if (inner == 1) return store_floats(made, to, count);
    turn_out<B, W>(made, to, inner, count, tile.count);
  }
};

// Columns (outer x inner) and length below 2^32.
template <class Schedule, class F>
int launch_columns(const F& f, long long outer, long long length, long long inner, void*, void*) {
  if (outer * inner > ~Index{0} || length > ~Index{0}) return 1;
  if (outer * inner == 0) return 0;
  RoundsOnCpu<Schedule, ColumnsLayout<Schedule::columns>, F>(f, {outer, length, inner}).run();
  return 0;
}
