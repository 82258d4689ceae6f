// Pooling of planes (depth, height, width) on the CPU, with maps before and after; fewer axes have leading sizes of 1.
//
// A pooling is separable. A thread takes a tile of `slices` x `lines` lines of results: it maps what they pool once,
// into memory of its own, pools that line by line over depth and height, and each line found along the width.
//
// Schedule, as cpu_space.py has it: threads, lines, slices. Geometry: see window_at.hpp.
#pragma once
#include "core/vectorised.hpp"  // ahead of all others

#include <algorithm>
#include <vector>

#include "core/parallel.hpp"
#include "families/window_at.hpp"
#include "numerics/blocks.hpp"

// Along one axis: what results [first, last) read of the plane, [begin, end).
template <class Geometry, int AXIS>
struct WindowSpan {
  using Along = WindowAxis<Geometry, AXIS>;
  long long first, last, begin, end;

  WindowSpan(long long from, long long until, long long size) : first(from), last(until) {
    begin = std::max(0LL, from * Along::stride - Along::padding);
    end = std::min(size, (until - 1) * Along::stride - Along::padding + (Along::kernel - 1LL) * Along::dilation + 1);
  }
};

template <class Schedule, class Geometry, class F>
class WindowsOnCpu {
  static constexpr int B = 256;
  using Depth = WindowAxis<Geometry, 0>;
  using Height = WindowAxis<Geometry, 1>;
  using Width = WindowAxis<Geometry, 2>;
  static constexpr bool mean = Geometry::pool == Pool::mean || Geometry::pool == Pool::mean_valid;

  const F f;
  const PlaneSizes sizes;
  long long plane, out_plane;  // elements
  std::vector<Real> counts;   // of a window along the width: what a mean divides by

 public:
  WindowsOnCpu(const F& functor, const PlaneSizes& of) : f(functor), sizes(of), counts(of.out_width) {
    plane = 1LL * sizes.depth * sizes.height * sizes.width;
    out_plane = 1LL * sizes.out_depth * sizes.out_height * sizes.out_width;
    for (Index w = 0; w < sizes.out_width; w++) {
      counts[w] = static_cast<Real>(window_count<Geometry, 2>(w, sizes.width));
    }
  }

  void run(long long rows) const {
    const long long high = ceil_div(sizes.out_height, Schedule::lines);
    const long long deep = ceil_div(sizes.out_depth, Schedule::slices);
    const long long tile = std::max(1LL, plane / (high * deep));
    const long long grain = std::max(1LL, 16384 / tile);
    parallel_for(rows * deep * high, grain, Schedule::threads, [&](long long begin, long long end) {
      Room room(*this);
      for (long long t = begin; t < end; t++) {
        const long long r = t / (deep * high), d = t / high % deep * Schedule::slices, h = t % high * Schedule::lines;
        const WindowSpan<Geometry, 0> z(d, std::min<long long>(d + Schedule::slices, sizes.out_depth), sizes.depth);
        const WindowSpan<Geometry, 1> y(h, std::min<long long>(h + Schedule::lines, sizes.out_height), sizes.height);
        run_tile(r, z, y, room);
      }
    });
  }

 private:
  // A thread's own memory: what is pooled of a tile, a line of it with its padding, and a line of results.
  struct Room {
    std::vector<Real> tile, line, found;
    explicit Room(const WindowsOnCpu& of) {
      const PlaneSizes& s = of.sizes;
      const long long deep = (Schedule::slices - 1LL) * Depth::stride + (Depth::kernel - 1LL) * Depth::dilation + 1;
      const long long high = (Schedule::lines - 1LL) * Height::stride + (Height::kernel - 1LL) * Height::dilation + 1;
      const long long span = (s.out_width - 1LL) * Width::stride + (Width::kernel - 1LL) * Width::dilation + 1;
      tile.resize(std::min<long long>(deep, s.depth) * std::min<long long>(high, s.height) * s.width);
      line.assign(std::max<long long>(span, s.width + 1LL * Width::padding), pool_nothing<Geometry>());
      found.resize(s.out_width);
    }
  };

  void run_tile(long long r, const WindowSpan<Geometry, 0>& z, const WindowSpan<Geometry, 1>& y, Room& room) const {
    const F f = this->f;  // nobody else's: what is written cannot be part of it
    const auto row = f.row(static_cast<Index>(r));
    const long long slice = (y.end - y.begin) * sizes.width;
    for (long long at = z.begin; at < z.end; at++) {
      const long long i = (at * sizes.height + y.begin) * sizes.width;
      map_before(f, row, r * plane, static_cast<Index>(i), static_cast<Index>(i + slice),
                 room.tile.data() + (at - z.begin) * slice);
    }
    for (long long d = z.first; d < z.last; d++) {
      for (long long h = y.first; h < y.last; h++) {
        pool_line(d, h, z, y, room);
        pool_width(room.line.data(), room.found.data());
        const int around = mean ? window_count<Geometry, 0>(static_cast<Index>(d), sizes.depth) *
                                      window_count<Geometry, 1>(static_cast<Index>(h), sizes.height) : 1;
        const long long i = (d * sizes.out_height + h) * sizes.out_width;
        map_after(f, row, r * out_plane, static_cast<Index>(i), static_cast<Real>(around), room.found.data());
      }
    }
  }

  // Elements [i, last) of the plane at `address`.
  static void map_before(const F& f, const typename F::Row row, long long address, Index i, Index last, Real* to) {
    Real room[places(F::INPUTS)][B], values[B];
    const Real* held[places(F::INPUTS)] = {};
    while (i < last) {
      const int count = static_cast<int>(std::min<Index>(B, last - i));
      const Index end = i + count;
      for (int k = 0; k < F::INPUTS; k++) held[k] = floats_of(f.input[k] + address + i, room[k], count);
      for (Index at = i; at < end; at++) {
        Real in[places(F::INPUTS)];
        for (int k = 0; k < F::INPUTS; k++) in[k] = held[k][at - i];
        values[at - i] = f.before(row, at, in);
      }
      std::copy(values, values + count, to);
      to += count, i = end;
    }
  }

  // Over depth and height, each column of the line of results (d, h).
  void pool_line(long long d, long long h, const WindowSpan<Geometry, 0>& z, const WindowSpan<Geometry, 1>& y,
                 Room& room) const {
    Real* __restrict line = room.line.data() + Width::padding;
    const Index width = sizes.width;
    bool first = true;
    for (int kd = 0; kd < Depth::kernel; kd++) {
      const long long at = d * Depth::stride - Depth::padding + kd * Depth::dilation;
      if (at < z.begin || at >= z.end) continue;
      for (int kh = 0; kh < Height::kernel; kh++) {
        const long long over = h * Height::stride - Height::padding + kh * Height::dilation;
        if (over < y.begin || over >= y.end) continue;
        const Real* more = room.tile.data() + ((at - z.begin) * (y.end - y.begin) + over - y.begin) * width;
        if (first) {
          std::copy(more, more + width, line);
        } else {
          for (Index x = 0; x < width; x++) line[x] = pool_both<Geometry>(line[x], more[x]);
        }
        first = false;
      }
    }
    if (first) std::fill(line, line + width, pool_nothing<Geometry>());  // a window of padding alone
  }

  void pool_width(const Real* line, Real* __restrict found) const {
    const Index outs = sizes.out_width;
    for (Index w = 0; w < outs; w++) found[w] = line[w * Width::stride];
    for (int k = 1; k < Width::kernel; k++) {
      const Real* more = line + k * Width::dilation;
      for (Index w = 0; w < outs; w++) found[w] = pool_both<Geometry>(found[w], more[w * Width::stride]);
    }
  }

  // A line of results of the plane at `address`; `around` is what a mean divides by beside the width's counts.
  void map_after(const F& f, const typename F::Row row, long long address, Index i, Real around,
                 const Real* found) const {
    Real made[places(F::RESULTS)][B];
    const Real* divisors = counts.data();
    for (const Index last = i + sizes.out_width; i < last;) {
      const int count = static_cast<int>(std::min<Index>(B, last - i));
      const Index end = i + count;
      for (Index at = i; at < end; at++) {
        Real out[places(F::RESULTS)];
        const Real pooled = mean ? found[at - i] / (around * divisors[at - i]) : found[at - i];
        f.after(row, at, pooled, out);
        for (int k = 0; k < F::RESULTS; k++) made[k][at - i] = out[k];
      }
      for (int k = 0; k < F::RESULTS; k++) store_floats(made[k], f.result[k] + address + i, count);
      found += count, divisors += count, i = end;
    }
  }
};

// Planes, and results of a plane, below 2^31.
template <class Schedule, class Geometry, class F>
int launch_windows(const F& f, long long rows, long long depth, long long height, long long width, long long out_depth,
                   long long out_height, long long out_width, void*) {
  constexpr long long limit = 0x7fffffff;
  if (rows * out_depth * out_height * out_width == 0) return 0;
  if (depth * height * width > limit || out_depth * out_height * out_width > limit || rows > limit) return 1;
  const PlaneSizes sizes{static_cast<Index>(depth),     static_cast<Index>(height),     static_cast<Index>(width),
                         static_cast<Index>(out_depth), static_cast<Index>(out_height), static_cast<Index>(out_width)};
  WindowsOnCpu<Schedule, Geometry, F>(f, sizes).run(rows);
  return 0;
}
