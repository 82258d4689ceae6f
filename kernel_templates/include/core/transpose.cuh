// Moves a tile of a row-major matrix to its place in the transposed one, at memory speed.
//
// Each thread exchanges patches of V x V floats in registers, so that both sides move in vectors of V floats.
// Two ways to read a patch:
//   direct  from device memory: a warp reads whole sectors, but only 32 / LANES * V floats side by side;
//   staged  the block first copies the tile to shared memory in whole lines. There, vector q of row r lies at
//           q ^ (r / V), so that neither the copy nor the reading of patches meets a bank conflict.
#pragma once
#include "core/async_copy.cuh"
#include "core/vector.cuh"

// LANES (a power of two up to 32) lanes of a warp lie side by side along the target's rows.
// READ_ONCE and WRITE_ONCE mark the source (read directly) and the target as not needed in the caches afterwards.
template <int V, int THREADS, int TILE_ROWS, int TILE_COLUMNS, int LANES, bool STAGED, bool READ_ONCE, bool WRITE_ONCE>
struct Transpose {
  static constexpr int VECTORS = TILE_COLUMNS / V;  // of a source row
  static constexpr int PATCHES = TILE_ROWS / V * VECTORS;
  static constexpr int PER_THREAD = (PATCHES + THREADS - 1) / THREADS;
  static constexpr int SCRATCH = STAGED ? TILE_ROWS * TILE_COLUMNS : 0;  // floats of shared memory
  static constexpr int WARP_VECTORS = 32 / LANES;
  static constexpr int BANK_GROUPS = 32 / V < VECTORS ? 32 / V : VECTORS;
  static_assert(TILE_ROWS % (LANES * V) == 0, "the lanes of a warp fit the tile's rows");
  static_assert(VECTORS % WARP_VECTORS == 0 && VECTORS % BANK_GROUPS == 0, "and its columns");

  // The first `rows` x `columns` of a tile: source[r * source_pitch + c] -> target[c * target_pitch + r], after
  // transform(patch, c), which changes V vectors of V columns from c on, one a row. All threads of the block must
  // call it; rows, columns, both pitches and both addresses are multiples of V. `scratch` holds SCRATCH floats,
  // aligned to 16 bytes; it may be used again after a barrier.
  template <class Transform>
  static __device__ __forceinline__ void move(const float* source, int source_pitch, float* target, int target_pitch,
                                              int rows, int columns, float* scratch, Transform transform) {
    if constexpr (STAGED) {
#pragma unroll 4
      for (int at = threadIdx.x; at < TILE_ROWS * VECTORS; at += THREADS) {
        const int row = at / VECTORS, vector = at % VECTORS;
        if (row >= rows || vector * V >= columns) continue;
        copy_async<4 * V>(scratch + place(row, vector), source + offset(row, source_pitch) + vector * V);
      }
      wait_copies();
      __syncthreads();
#pragma unroll 4
      for (int i = 0; i < PER_THREAD; i++) {
        const int row = row_of(i), column = column_of(i);
        if (row >= rows || column >= columns) continue;
        Vector<V> patch[V];
#pragma unroll
        for (int j = 0; j < V; j++) patch[j] = load<V>(scratch + place(row + j, column / V));
        transform(patch, column);
        write(patch, target + offset(column, target_pitch) + row, target_pitch);
      }
    } else {
      Vector<V> patch[PER_THREAD][V];
#pragma unroll
      for (int i = 0; i < PER_THREAD; i++) {
        const int row = row_of(i), column = column_of(i);
        if (row >= rows || column >= columns) continue;
        const float* p = source + offset(row, source_pitch) + column;
#pragma unroll
        for (int j = 0; j < V; j++) patch[i][j] = read(p + offset(j, source_pitch));
      }
#pragma unroll
      for (int i = 0; i < PER_THREAD; i++) {
        const int row = row_of(i), column = column_of(i);
        if (row >= rows || column >= columns) continue;
        transform(patch[i], column);
        write(patch[i], target + offset(column, target_pitch) + row, target_pitch);
      }
    }
  }

 private:
  static __device__ __forceinline__ long long offset(int line, int pitch) {
    return static_cast<long long>(line) * pitch;
  }

  static __device__ __forceinline__ Vector<V> read(const float* p) {
    return READ_ONCE ? load_once<V>(p) : load<V>(p);
  }

  static __device__ __forceinline__ void write(const Vector<V> (&patch)[V], float* p, int pitch) {
#pragma unroll
    for (int k = 0; k < V; k++) {
      Vector<V> turned;
#pragma unroll
      for (int j = 0; j < V; j++) turned.at[j] = patch[j].at[k];
      WRITE_ONCE ? store_once(p + offset(k, pitch), turned) : store(p + offset(k, pitch), turned);
    }
  }

  // Where the staged tile keeps a vector.
  static __device__ __forceinline__ int place(int row, int vector) {
    return row * TILE_COLUMNS + (vector ^ ((row / V) & (BANK_GROUPS - 1))) * V;
  }

  // Upper left corner of the caller's i-th patch; lies at or beyond TILE_ROWS when there are fewer patches.
  static __device__ __forceinline__ int row_of(int i) {
    const int patch = i * THREADS + threadIdx.x, warp = patch / 32;
    return (warp / (VECTORS / WARP_VECTORS) * LANES + patch % LANES) * V;
  }
  static __device__ __forceinline__ int column_of(int i) {
    const int patch = i * THREADS + threadIdx.x, warp = patch / 32;
    return (warp % (VECTORS / WARP_VECTORS) * WARP_VECTORS + patch % 32 / LANES) * V;
  }
};
