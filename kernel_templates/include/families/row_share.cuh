// A thread's share of a row of `rows`: which vectors of it are its own, read, reduced and written.
//
// Vectors lie on aligned addresses, wherever the row starts: the first and the last of a run of elements may reach
// beyond it, and only some of their lanes exist. Such a vector is treated lane by lane, and so are tensors of which one
// lies otherwise than the rest.
#pragma once
#include "core/async_copy.cuh"
#include "core/divide.hpp"
#include "core/pack.cuh"
#include "families/functor.hpp"
#include "numerics/element.hpp"
#include "numerics/monoids.hpp"

struct RowSizes {
  long long rows, length;
  Index vectors;   // that cover a row, all segments
  Divider by_run;  // vectors that cover one segment
  unsigned ahead;  // elements from a vector's boundary to the tensors' start
  bool alike;      // whether that is the same for all tensors
};

template <int V, class F>
inline RowSizes row_sizes(const F& f, long long segments, long long rows, long long length) {
  const auto ahead = [](const Element* p) {
    return static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(p) / sizeof(Element) % V);
  };
  const unsigned first = F::INPUTS > 0 ? ahead(f.input[0]) : F::RESULTS > 0 ? ahead(f.result[0]) : 0;
  bool alike = true;
  for (int k = 0; k < F::INPUTS; k++) alike = alike && ahead(f.input[k]) == first;
  for (int k = 0; k < F::RESULTS; k++) alike = alike && ahead(f.result[k]) == first;
  const bool aligned = first == 0 && length % V == 0;
  const long long run = aligned ? length / V : (length + 2 * V - 2) / V;
  const Divider by_run = segments > 1 ? Divider(static_cast<Index>(run)) : Divider(1);
  return {rows, length, static_cast<Index>(segments * run), by_run, first, alike};
}

// Of one vector: where its lane 0 lies in the tensor and in the row, and which lanes, [low, high), exist.
struct RowPlace {
  long long address;
  Index i;
  int low, high;
};

// STEP threads share the vectors [begin, end) of row r.
template <class F, int V, int STEP, bool SEGMENTED>
struct RowShare {
  using Row = typename F::Row;
  using Item = typename F::Item;
  const F& f;
  const RowSizes& sizes;
  Index r, begin, end;
  // Without segments: where vector 0 lies, how many of its lanes are before the row, and where the share's lanes end.
  long long base;
  Index skew, bound;

  __device__ RowShare(const F& functor, const RowSizes& of, Index row, Index first, Index last)
      : f(functor), sizes(of), r(row), begin(first), end(last) {
    const long long start = row * sizes.length, lanes = static_cast<long long>(last) * V;
    skew = skew_at(start), base = start - skew;
    bound = static_cast<Index>(lanes < sizes.length + skew ? lanes : sizes.length + skew);
  }

  __device__ __forceinline__ Index skew_at(long long start) const {
    return (static_cast<Index>(start) + sizes.ahead) % V;
  }

  static __device__ __forceinline__ RowPlace lanes(long long address, Index i, Index at, Index skew, Index bound) {
    const int low = at < skew ? static_cast<int>(skew - at) : 0;
    const int high = at >= bound ? 0 : bound - at < V ? static_cast<int>(bound - at) : V;
    return {address, i, low, high};
  }

  __device__ __forceinline__ RowPlace place(Index q) const {
    if constexpr (SEGMENTED) {
      const Index segment = sizes.by_run.quotient(q), at = (q - segment * sizes.by_run.divisor) * V;
      const long long start = (segment * sizes.rows + r) * sizes.length;
      const Index before = skew_at(start), last = q < end ? static_cast<Index>(sizes.length) + before : 0;
      const Index i = static_cast<Index>(segment * sizes.length) + at - before;
      return lanes(start - before + at, i, at, before, last);
    } else {
      return lanes(base + q * V, q * V - skew, q * V, skew, bound);
    }
  }

  // Whether every lane of the U vectors q, q + STEP, ... exists.
  template <int U>
  __device__ __forceinline__ bool whole(Index q) const {
    if constexpr (SEGMENTED) {
      bool all = true;
      TUNER_UNROLL
      for (int u = 0; u < U; u++) {
        const RowPlace at = place(q + u * STEP);
        all = all && at.low == 0 && at.high == V;
      }
      return all;
    } else {
      return q * V >= skew && bound >= ((U - 1) * STEP + 1) * V && q * V <= bound - ((U - 1) * STEP + 1) * V;
    }
  }

  __device__ __forceinline__ Item item(const Row& row, Index i, const Pack<Element, V> (&held)[places(F::INPUTS)],
                                       int j) const {
    float in[places(F::INPUTS)];
    TUNER_UNROLL
    for (int k = 0; k < F::INPUTS; k++) in[k] = to_float(held[k].at[j]);
    return f.item(row, i, in);
  }

  template <int U, bool ONCE>
  __device__ __forceinline__ void load(const Row& row, Index q, Item (&items)[U][V]) const {
    Pack<Element, V> held[U][places(F::INPUTS)];
    if (sizes.alike && whole<U>(q)) {
      TUNER_UNROLL
      for (int u = 0; u < U; u++) {
        const RowPlace at = place(q + u * STEP);
        TUNER_UNROLL
        for (int k = 0; k < F::INPUTS; k++) held[u][k] = load_pack<V, ONCE>(f.input[k] + at.address);
      }
      TUNER_UNROLL
      for (int u = 0; u < U; u++) {
        const RowPlace at = place(q + u * STEP);
        TUNER_UNROLL
        for (int j = 0; j < V; j++) items[u][j] = item(row, at.i + j, held[u], j);
      }
      return;
    }
    TUNER_UNROLL
    for (int u = 0; u < U; u++) {
      const RowPlace at = place(q + u * STEP);
      const bool full = sizes.alike && at.low == 0 && at.high == V;
      TUNER_UNROLL
      for (int k = 0; k < F::INPUTS; k++) {
        if (full) {
          held[u][k] = load_pack<V, ONCE>(f.input[k] + at.address);
        } else {
          TUNER_UNROLL
          for (int j = 0; j < V; j++) {
            if (j >= at.low && j < at.high) held[u][k].at[j] = f.input[k][at.address + j];
          }
        }
      }
    }
    TUNER_UNROLL
    for (int u = 0; u < U; u++) {
      const RowPlace at = place(q + u * STEP);
      TUNER_UNROLL
      for (int j = 0; j < V; j++) {
        if (j >= at.low && j < at.high) items[u][j] = item(row, at.i + j, held[u], j);
      }
    }
  }

  template <int K, class State>
  __device__ __forceinline__ void add_vector(const Row& row, Index i, const Item (&items)[V], State& state) const {
    typename State::Value v[V];
    TUNER_UNROLL
    for (int j = 0; j < V; j++) v[j] = f.lift(Round<K>(), row, i + j, items[j]);
    state.add(v, i, 1);
  }

  template <int K, int U, class State>
  __device__ __forceinline__ void add(const Row& row, Index q, const Item (&items)[U][V], State& state) const {
    if (!State::ORDERED && whole<U>(q)) {
      constexpr int together = U * V <= 16 || V >= 16 ? U : 16 / V;  // vectors: more values at once cost registers
      TUNER_UNROLL
      for (int first = 0; first < U; first += together) {
        typename State::Value v[together * V];
        TUNER_UNROLL
        for (int u = 0; u < together; u++) {
          const Index i = place(q + (first + u) * STEP).i;
          TUNER_UNROLL
          for (int j = 0; j < V; j++) v[u * V + j] = f.lift(Round<K>(), row, i + j, items[first + u][j]);
        }
        state.add(v, 0, 0);
      }
      return;
    }
    TUNER_UNROLL
    for (int u = 0; u < U; u++) {
      const RowPlace at = place(q + u * STEP);
      if (at.low == 0 && at.high == V) {
        add_vector<K>(row, at.i, items[u], state);
        continue;
      }
      TUNER_UNROLL
      for (int j = 0; j < V; j++) {
        if (j >= at.low && j < at.high) {
          const typename State::Value v[1] = {f.lift(Round<K>(), row, at.i + j, items[u][j])};
          state.add(v, at.i + j, 1);
        }
      }
    }
  }

  __device__ __forceinline__ void write_vector(const Row& row, const RowPlace& at, const Item (&items)[V]) const {
    Pack<Element, V> made[places(F::RESULTS)];
    TUNER_UNROLL
    for (int j = 0; j < V; j++) {
      float out[places(F::RESULTS)];
      f.results(row, at.i + j, items[j], out);
      TUNER_UNROLL
      for (int k = 0; k < F::RESULTS; k++) made[k].at[j] = to_element(out[k]);
    }
    TUNER_UNROLL
    for (int k = 0; k < F::RESULTS; k++) store_pack<V, true>(f.result[k] + at.address, made[k]);
  }

  template <int U>
  __device__ __forceinline__ void write(const Row& row, Index q, const Item (&items)[U][V]) const {
    if (sizes.alike && whole<U>(q)) {
      if (!SEGMENTED && skew == 0) {  // i is a multiple of V: operands of a functor that are aligned, too, move together
        TUNER_UNROLL
        for (int u = 0; u < U; u++) {
          const Index i = (q + u * STEP) * V;
          write_vector(row, {base + i, i, 0, V}, items[u]);
        }
        return;
      }
      TUNER_UNROLL
      for (int u = 0; u < U; u++) write_vector(row, place(q + u * STEP), items[u]);
      return;
    }
    TUNER_UNROLL
    for (int u = 0; u < U; u++) {
      const RowPlace at = place(q + u * STEP);
      if (sizes.alike && at.low == 0 && at.high == V) {
        write_vector(row, at, items[u]);
        continue;
      }
      TUNER_UNROLL
      for (int j = 0; j < V; j++) {
        if (j >= at.low && j < at.high) {
          float out[places(F::RESULTS)];
          f.results(row, at.i + j, items[u][j], out);
          TUNER_UNROLL
          for (int k = 0; k < F::RESULTS; k++) f.result[k][at.address + j] = to_element(out[k]);
        }
      }
    }
  }

  // The share's vectors to shared memory, past the registers: vector u of input k to[(k * U + u) * STEP], of this thread
  // alone. They are there when its copies have arrived.
  template <int U>
  __device__ __forceinline__ void fetch(Index q, Pack<Element, V>* to) const {
    TUNER_UNROLL
    for (int u = 0; u < U; u++) {
      const RowPlace at = place(q + u * STEP);
      const bool full = sizes.alike && at.low == 0 && at.high == V;
      TUNER_UNROLL
      for (int k = 0; k < F::INPUTS; k++) {
        Pack<Element, V>* slot = to + (k * U + u) * STEP;
        const Element* from = f.input[k] + at.address;
        if (full) {
          copy_async<sizeof(Pack<Element, V>)>(slot, from);
        } else {
          TUNER_UNROLL
          for (int j = 0; j < V; j++) {
            if (j >= at.low && j < at.high) slot->at[j] = from[j];
          }
        }
      }
    }
  }

  // Items of the vectors [first, first + A) that fetch has brought.
  template <int U, int A>
  __device__ __forceinline__ void recall(const Row& row, Index q, const Pack<Element, V>* from, int first,
                                         Item (&items)[A][V]) const {
    const bool all = whole<A>(q + first * STEP);
    TUNER_UNROLL
    for (int u = 0; u < A; u++) {
      Pack<Element, V> held[places(F::INPUTS)];
      TUNER_UNROLL
      for (int k = 0; k < F::INPUTS; k++) held[k] = from[(k * U + first + u) * STEP];
      const RowPlace at = place(q + (first + u) * STEP);
      TUNER_UNROLL
      for (int j = 0; j < V; j++) {
        if (all || (j >= at.low && j < at.high)) items[u][j] = item(row, at.i + j, held, j);
      }
    }
  }

  // The same of all the share's vectors, U at a time; `lane` counts the STEP threads.
  template <int K, int U, bool ONCE, class State>
  __device__ __forceinline__ State read(const Row& row, Index lane) const {
    State state = State::identity();
    for (Index q = begin + lane; q < end; q += U * STEP) {
      Item items[U][V];
      load<U, ONCE>(row, q, items);
      add<K>(row, q, items, state);
    }
    return state;
  }

  template <int U>
  __device__ __forceinline__ void rewrite(const Row& row, Index lane) const {
    for (Index q = begin + lane; q < end; q += U * STEP) {
      Item items[U][V];
      load<U, true>(row, q, items);
      write(row, q, items);
    }
  }
};
