// Rows on the CPU: rounds of reductions over the innermost axes of a tensor, and maps of what they found. Softmax,
// LayerNorm, GroupNorm, losses, norms of a whole tensor; with segments, a channel of every sample (BatchNorm).
//
// A row that fits the caches is read from them in every round; see rounds.hpp for those that do not, or are few.
//
// Schedule, as cpu_space.py has it: threads, grain, block, keep.
#pragma once
#include "families/rounds.hpp"

struct RowsLayout {
  static constexpr int SIDE = 1;
  long long segments, rows, length;  // of a segment

  long long tiles() const { return rows; }
  long long positions() const { return segments * length; }
  Tile tile(long long t) const { return {t, 1}; }

  // Calls body(address, first, count) for what lies side by side of `count` positions.
  template <class Body>
  void each_run(long long r, long long i, int count, const Body& body) const {
    for (int done = 0; done < count;) {
      const long long segment = (i + done) / length, at = i + done - segment * length;
      const int here = static_cast<int>(std::min<long long>(count - done, length - at));
      body((segment * rows + r) * length + at, done, here);
      done += here;
    }
  }

  template <int B>
  const Real* load(const Element* p, Tile tile, long long i, int count, Real* room) const {
    if (segments == 1) return floats_of(p + tile.first * length + i, room, count);
    each_run(tile.first, i, count, [&](long long address, int first, int here) {
      const Real* found = floats_of(p + address, room + first, here);
      if (found != room + first) std::memcpy(room + first, found, sizeof(Real) * here);
    });
    return room;
  }

  template <int B>
  void store(const Real* made, Element* p, Tile tile, long long i, int count) const {
    if (segments == 1) return store_floats(made, p + tile.first * length + i, count);
    each_run(tile.first, i, count,
             [&](long long address, int first, int here) { store_floats(made + first, p + address, here); });
  }
};

// `length` elements a segment; rows, and elements of a row, below 2^32.
template <class Schedule, class F>
int launch_rows(const F& f, long long segments, long long rows, long long length, void*, void*) {
  if (rows > ~Index{0} || segments * length > ~Index{0}) return 1;
  RoundsOnCpu<Schedule, RowsLayout, F>(f, {segments, rows, length}).run();
  return 0;
}
