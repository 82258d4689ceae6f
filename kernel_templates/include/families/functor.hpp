// What every family of kernels asks of a functor: the scalar code of one problem. The family decides who computes what,
// where it is kept and how it moves; the functor decides what is computed, and never sees a thread or a vector.
//
// A family sees a tensor as rows: `r` counts the rows, `i` the elements of a row. How a row lies in memory is the
// family's affair, so one functor serves several. The element at `i` of row `r` lies at
//   map, rows   (r * length + i), contiguous; with segments (BatchNorm: a row is one channel of all samples)
//               ((i / length) * rows + r) * length + i % length
//   columns     ((r / inner) * length + i) * inner + r % inner
//
// All functors have
//   INPUTS, RESULTS               how many tensors of that shape are read, and written, element by element
//   const Element* input[INPUTS]  at an element's address, by the family
//   Element* result[RESULTS]      likewise; an array of nothing, here and below, has one place all the same: places(0)
//   struct Row                    what is the same along a row: operands, and what rounds found
//   Row row(Index r) const        reads the operands among them
// `map` also
//   void map(const Row&, Index i, const float (&in)[INPUTS], float (&out)[RESULTS]) const
// `rows` and `columns` instead
//   using Rounds = RoundsOf<State, ...>   monoids of numerics/monoids.hpp; each round reduces the whole row
//   using Total, TOTALS, Total* total[TOTALS]   type and number of the results that have one value a row
//   struct Item                   what is kept of an element between rounds
//   Item item(const Row&, Index i, const float (&in)[INPUTS]) const
//   State::Value lift(Round<K>, const Row&, Index i, const Item&) const     what round K reduces
//   void close(Round<K>, Row&, const State&) const                          what it found, into the row
//   void results(const Row&, Index i, const Item&, float (&out)[RESULTS]) const
//   void totals(const Row&, Total (&out)[TOTALS]) const
// (a member function cannot have a member's name: `result` and `total` are the tensors)
// `windows` instead, of rows that are planes (depth, height, width); a result lies in the plane of results
//   float before(const Row&, Index i, const float (&in)[INPUTS]) const               what is pooled of an element
//   void after(const Row&, Index i, float pooled, float (&out)[RESULTS]) const       i counts the results of a row
// `scan` instead, of rows that lie as those of columns do; RESULTS is 1
//   static constexpr bool product, reverse, exclusive   what runs, from where, and whether with the element's own
//   float lift(const Row&, Index i, const float (&in)[INPUTS]) const                 what is added or multiplied
//   void results(const Row&, Index i, const float (&in)[INPUTS], float running, float (&out)[RESULTS]) const
//
// An item of rows or columns may be a pooling window's value (window_at.hpp), which reads what is pooled itself: then
// that is none of INPUTS, and `i` counts the results of the pooling.
//
// An item may depend on what rounds closed before found; a family that keeps items computes them once, before round 0,
// so what it uses of the row is what row() read.
//
// Where it says float, it is double where the elements are: Real of numerics/element.hpp.
#pragma once
#include <cstddef>
#include <tuple>

#include "core/portable.hpp"

using Index = unsigned;  // rows, and elements of a row

// The size of an array that has a place for each of `count`.
TUNER_INLINE constexpr int places(int count) { return count > 0 ? count : 1; }

template <int K>
struct Round {};

template <class... States>
struct RoundsOf {
  static constexpr int COUNT = sizeof...(States);
  template <int K>
  using State = std::tuple_element_t<static_cast<std::size_t>(K), std::tuple<States...>>;
};
