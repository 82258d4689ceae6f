// Reductions over a warp and over a block: of floats, doubles and small structs, in a fixed order.
//
// An operation is a callable T(T, T) that is associative up to rounding: Sum, Max and Min below, Merge in
// numerics/moments.cuh.
// T is trivially copyable, without constructors (it lies in shared memory), and a multiple of four bytes.
#pragma once

enum class Reduction { shuffle, shared };

struct Sum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

// The larger one; NaN loses.
struct Max {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

// The smaller one; NaN wins, as in torch.min.
struct Min {
  __device__ float operator()(float a, float b) const { return a < b || a != a ? a : b; }
};

// The value of the lane whose number differs from the caller's in the bits of `mask`.
template <class T>
__device__ __forceinline__ T shuffle_xor(T value, int mask) {
  static_assert(sizeof(T) % 4 == 0, "moved in words of four bytes");
  constexpr int WORDS = sizeof(T) / 4;
  unsigned words[WORDS];
  memcpy(words, &value, sizeof(T));
#pragma unroll
  for (int i = 0; i < WORDS; i++) words[i] = __shfl_xor_sync(0xffffffffu, words[i], mask);
  memcpy(&value, words, sizeof(T));
  return value;
}

// CUDA's own for a double: moved word by word, it makes the compiler repeat more of the loops around it.
__device__ __forceinline__ double shuffle_xor(double value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }

// Over each aligned run of WIDTH lanes (a power of two up to 32); every lane gets its run's result. With a STRIDE (a power
// of two), over those lanes of the run whose numbers are equal modulo it. All 32 lanes of the warp must call it.
template <int WIDTH = 32, int STRIDE = 1, class T, class Op>
__device__ __forceinline__ T warp_reduce(T value, Op op) {
#pragma unroll
  for (int mask = WIDTH / 2; mask >= STRIDE; mask /= 2) value = op(value, shuffle_xor(value, mask));
  return value;
}

// The same for a width known only at run time.
template <class T, class Op>
__device__ __forceinline__ T run_reduce(T value, Op op, int width) {
#pragma unroll 1
  for (int mask = width / 2; mask > 0; mask /= 2) value = op(value, shuffle_xor(value, mask));
  return value;
}

// Elements of T that block_reduce needs in shared memory.
__host__ __device__ constexpr int reduce_scratch(int threads, Reduction how) {
  return how == Reduction::shuffle ? threads / 32 : threads;
}

// Over the block's THREADS threads (a power of two from 32 to 1024); every thread gets the result.
// All threads must call it. `scratch` may be used again at once: the call ends with a barrier.
template <int THREADS, Reduction HOW, class T, class Op>
__device__ T block_reduce(T value, Op op, T* scratch) {
  static_assert(THREADS >= 32 && THREADS <= 1024 && (THREADS & (THREADS - 1)) == 0, "a power of two, 32 to 1024");
  if constexpr (HOW == Reduction::shuffle) {
    constexpr int COUNT = THREADS / 32;  // no name that is a knob's: knobs are macros
    const int lane = threadIdx.x % 32;
    value = warp_reduce(value, op);
    if (lane == 0) scratch[threadIdx.x / 32] = value;
    __syncthreads();
    value = warp_reduce<COUNT>(scratch[lane % COUNT], op);
  } else {
    scratch[threadIdx.x] = value;
    __syncthreads();
#pragma unroll
    for (int half = THREADS / 2; half > 0; half /= 2) {
      if (threadIdx.x < half) scratch[threadIdx.x] = op(scratch[threadIdx.x], scratch[threadIdx.x + half]);
      __syncthreads();
    }
    value = scratch[0];
  }
  __syncthreads();
  return value;
}
