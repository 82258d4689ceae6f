// What the families of rounds, rows and columns, have in common on the CPU.
//
// A tile is some rows of the family's that are computed together, and a part some of their positions, always the same
// ones. Where there are tiles enough, a thread takes a tile through all rounds; else the threads share its parts, and
// wait for each other after each round. Both reduce each part alone, block by block, and then the parts in their order,
// so that results are the same whichever it is, on however many threads.
//
// A Layout has
//   SIDE                                     rows of a tile, at most
//   tiles(), positions()                     of a row
//   tile(t)                                  its first row and how many there are
//   load<B>(p, tile, i, count, room)         positions [i, i + count) as floats, those of row `u` from u * B on; in
//                                            `room` or where they lie
//   store<B>(made, p, tile, i, count)        likewise
#pragma once
#include "core/vectorised.hpp"  // ahead of all others

#include <algorithm>
#include <vector>

#include "core/parallel.hpp"
#include "families/functor.hpp"
#include "numerics/blocks.hpp"
#include "numerics/monoids.hpp"

struct Tile {
  long long first;
  int count;
};

// values[0, count), fewer than 2 * K, from position `first` on.
template <int K, class State, class Value>
inline void add_values(State& state, const Value* values, int count, long long first) {
  if (count >= K) {
    state.add(*reinterpret_cast<const Value(*)[K]>(values), first, 1);
    values += K, first += K, count -= K;
  }
  if constexpr (K > 1) {
    if (count > 0) add_values<K / 2>(state, values, count, first);
  }
}

// Where an item comes from: computed, computed and kept, or kept.
enum class Items { computed, keeping, kept };

template <class Schedule, class Layout, class F>
class RoundsOnCpu {
 public:
  static constexpr int B = Schedule::block, SIDE = Layout::SIDE, ROUNDS = F::Rounds::COUNT;
  using Row = typename F::Row;
  using Item = typename F::Item;
  template <int K>
  using State = typename F::Rounds::template State<K>;

  RoundsOnCpu(const F& functor, const Layout& of) : f(functor), layout(of) {
    part = std::max<long long>(B, Schedule::grain * 1024LL / SIDE / B * B);
    parts = std::max(1LL, ceil_div(layout.positions(), part));
  }

  void run() const {
    if (parts > 1 && layout.tiles() < 4 * Schedule::threads) return run_parts();
    const long long tile_elements = std::max(1LL, SIDE * layout.positions());
    parallel_for(layout.tiles(), std::max(1LL, Schedule::grain * 1024LL / tile_elements), Schedule::threads,
                 [&](long long begin, long long end) {
                   std::vector<Item> kept(keeps() ? SIDE * layout.positions() : 0);
                   for (long long t = begin; t < end; t++) run_tile(layout.tile(t), kept.data());
                 });
  }

 private:
  const F f;
  const Layout layout;
  long long part, parts;

  // Items of a tile stay in the second cache where they are needed again.
  bool keeps() const {
    constexpr bool again = ROUNDS + (F::RESULTS > 0) > 1;
    return Schedule::keep && again && SIDE * layout.positions() * static_cast<long long>(sizeof(Item)) <= 1 << 18;
  }

  void read_rows(Tile tile, Row* rows) const {
    for (int u = 0; u < tile.count; u++) rows[u] = f.row(static_cast<Index>(tile.first + u));
  }

  // ---- a tile through all rounds ----

  void run_tile(Tile tile, Item* kept) const {
    Row rows[SIDE];
    read_rows(tile, rows);
    if (keeps()) {
      close_rounds<0, Items::keeping>(tile, rows, kept);
      if constexpr (F::RESULTS > 0) write<Items::kept>(tile, rows, 0, layout.positions(), kept);
    } else {
      close_rounds<0, Items::computed>(tile, rows, nullptr);
      if constexpr (F::RESULTS > 0) write<Items::computed>(tile, rows, 0, layout.positions(), nullptr);
    }
    for (int u = 0; u < tile.count; u++) write_totals(rows[u], tile.first + u);
  }

  template <int K, Items FROM>
  void close_rounds(Tile tile, Row* rows, Item* kept) const {
    if constexpr (K < ROUNDS) {
      State<K> found[SIDE], next[SIDE];
      for (long long p = 0; p < parts; p++) {
        reduce<K, FROM>(tile, rows, p, p == 0 ? found : next, kept);
        for (int u = 0; p > 0 && u < tile.count; u++) found[u] = State<K>::merge(found[u], next[u]);
      }
      for (int u = 0; u < tile.count; u++) f.close(Round<K>(), rows[u], found[u]);
      close_rounds<K + 1, FROM == Items::keeping ? Items::kept : FROM>(tile, rows, kept);
    }
  }

  // ---- parts of a tile on several threads ----

  void run_parts() const {
    std::vector<Row> rows(layout.tiles() * SIDE);
    for (long long t = 0; t < layout.tiles(); t++) read_rows(layout.tile(t), &rows[t * SIDE]);
    close_rounds_of_parts<0>(rows.data());
    if constexpr (F::RESULTS > 0) {
      each_part([&](long long t, long long p) {
        const long long end = std::min(layout.positions(), (p + 1) * part);
        write<Items::computed>(layout.tile(t), &rows[t * SIDE], p * part, end, nullptr);
      });
    }
    for (long long t = 0; t < layout.tiles(); t++) {
      const Tile tile = layout.tile(t);
      for (int u = 0; u < tile.count; u++) write_totals(rows[t * SIDE + u], tile.first + u);
    }
  }

  template <class Body>
  void each_part(const Body& body) const {
    parallel_for(layout.tiles() * parts, 1, Schedule::threads, [&](long long begin, long long end) {
      for (long long at = begin; at < end; at++) body(at / parts, at % parts);
    });
  }

  template <int K>
  void close_rounds_of_parts(Row* rows) const {
    if constexpr (K < ROUNDS) {
      std::vector<State<K>> states(layout.tiles() * parts * SIDE);
      each_part([&](long long t, long long p) {
        State<K> mine[SIDE];  // not beside what other threads write
        const Tile tile = layout.tile(t);
        reduce<K, Items::computed>(tile, rows + t * SIDE, p, mine, nullptr);
        std::copy(mine, mine + tile.count, &states[(t * parts + p) * SIDE]);
      });
      for (long long t = 0; t < layout.tiles(); t++) {
        const Tile tile = layout.tile(t);
        State<K>* found = &states[t * parts * SIDE];
        for (int u = 0; u < tile.count; u++) {
          for (long long p = 1; p < parts; p++) found[u] = State<K>::merge(found[u], found[p * SIDE + u]);
          f.close(Round<K>(), rows[t * SIDE + u], found[u]);
        }
      }
      close_rounds_of_parts<K + 1>(rows);
    }
  }

  // ---- a block ----

  struct Inputs {
    Real room[places(F::INPUTS)][SIDE * B];
    const Real* held[places(F::INPUTS)];
  };

  using Made = Real[places(F::RESULTS)][SIDE * B];

  void load(Tile tile, long long i, int count, Inputs& inputs) const {
    for (int k = 0; k < F::INPUTS; k++) {
      inputs.held[k] = layout.template load<B>(f.input[k], tile, i, count, inputs.room[k]);
    }
  }

  template <Items FROM>
  static Item item_at(const F& f, const Row& row, Index i, const Real* const* held, Index at, const Item* kept) {
    if constexpr (FROM == Items::kept) {
      return kept[at];
    } else {
      Real in[places(F::INPUTS)];
      for (int k = 0; k < F::INPUTS; k++) in[k] = held[k][at];
      return f.item(row, i, in);
    }
  }

  // Of row `u` of a tile, positions [i, end): their items.
  TUNER_APART static void keep_block(const F& functor, const Row& of, Index i, Index end, const Inputs& inputs, int u,
                                     Item* __restrict kept) {
    const F f = functor;  // nobody else's: what is written cannot be part of it
    const Row row = of;
    const Real* held[places(F::INPUTS)];
    for (int k = 0; k < F::INPUTS; k++) held[k] = inputs.held[k] + u * B;
    for (Index at = i; at < end; at++) kept[at - i] = item_at<Items::computed>(f, row, at, held, at - i, nullptr);
  }

  // What round K reduces of them. `kept` has their items.
  template <int K, Items FROM>
  TUNER_APART static void lift_block(const F& functor, const Row& of, Index i, Index end, const Inputs& inputs, int u,
                                     const Item* __restrict kept, typename State<K>::Value* __restrict values) {
    const F f = functor;
    const Row row = of;
    const Real* held[places(F::INPUTS)];
    for (int k = 0; k < F::INPUTS; k++) held[k] = inputs.held[k] + u * B;
    for (Index at = i; at < end; at++) {
      values[at - i] = f.lift(Round<K>(), row, at, item_at<FROM>(f, row, at, held, at - i, kept));
    }
  }

  // The results, that of number k to made[k].
  template <Items FROM>
  TUNER_APART static void write_block(const F& functor, const Row& of, Index i, Index end, const Inputs& inputs, int u,
                                      const Item* __restrict kept, Made& __restrict made) {
    const F f = functor;
    const Row row = of;
    const Real* held[places(F::INPUTS)];
    for (int k = 0; k < F::INPUTS; k++) held[k] = inputs.held[k] + u * B;
    for (Index at = i; at < end; at++) {
      Real out[places(F::RESULTS)];
      f.results(row, at, item_at<FROM>(f, row, at, held, at - i, kept), out);
      for (int k = 0; k < F::RESULTS; k++) (made[k] + u * B)[at - i] = out[k];
    }
  }

  // The states of round K of a part of the tile's rows. `kept` has the items of all positions, row after row.
  template <int K, Items FROM>
  void reduce(Tile tile, const Row* rows, long long p, State<K>* states, Item* kept) const {
    const long long end = std::min(layout.positions(), (p + 1) * part);
    for (int u = 0; u < tile.count; u++) states[u] = State<K>::identity();
    Inputs inputs;
    typename State<K>::Value values[B];
    for (long long i = p * part; i < end; i += B) {
      const int count = static_cast<int>(std::min<long long>(B, end - i));
      if constexpr (FROM != Items::kept) load(tile, i, count, inputs);
      for (int u = 0; u < tile.count; u++) {
        Item* const mine = FROM == Items::computed ? nullptr : kept + u * layout.positions() + i;
        const auto at = static_cast<Index>(i), last = static_cast<Index>(i + count);
        if constexpr (FROM == Items::keeping) keep_block(f, rows[u], at, last, inputs, u, mine);
        lift_block<K, FROM == Items::computed ? FROM : Items::kept>(f, rows[u], at, last, inputs, u, mine, values);
        add_values<B>(states[u], values, count, i);
      }
    }
  }

  template <Items FROM>
  void write(Tile tile, const Row* rows, long long begin, long long end, Item* kept) const {
    Inputs inputs;
    Made made;
    for (long long i = begin; i < end; i += B) {
      const int count = static_cast<int>(std::min<long long>(B, end - i));
      if constexpr (FROM != Items::kept) load(tile, i, count, inputs);
      for (int u = 0; u < tile.count; u++) {
        Item* const mine = FROM == Items::computed ? nullptr : kept + u * layout.positions() + i;
        write_block<FROM>(f, rows[u], static_cast<Index>(i), static_cast<Index>(i + count), inputs, u, mine, made);
      }
      for (int k = 0; k < F::RESULTS; k++) layout.template store<B>(made[k], f.result[k], tile, i, count);
    }
  }

  void write_totals(const Row& row, long long r) const {
    if constexpr (F::TOTALS > 0) {
      typename F::Total out[places(F::TOTALS)];
      f.totals(row, out);
      for (int k = 0; k < F::TOTALS; k++) f.total[k][r] = out[k];
    }
  }
};
