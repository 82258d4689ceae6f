// x (m, k) times a weight (n, k) transposed, for few rows of x: the weight, which is all that there is to move, is read
// once, in float, and cut into pieces (split.cuh) in registers.
//
// A block multiplies `tile_rows` rows of the weight, the tensor cores' A, with up to 128 rows of x, their B, over a slice
// of K; blocks that differ in x's rows alone run side by side, and share the weight in L2. One warpgroup keeps stages of
// shared memory filled: 64 values of K of each row of the weight, and x's pieces for them, which lie in memory as the
// tensor cores want them. Two warpgroups scale their rows of such a chunk by its own largest magnitude, cut them, and add
// the chunk's product, scaled back, in float: no sum in a tensor core is longer than a chunk. finish.cuh adds the slices and
// scales by x's rows.
//
// Within 16 values of K their order is one that gives a thread four neighbours of the weight: place 2 t + i of a step is
// value 4 t + i, place 8 + 2 t + i value 4 t + 2 + i (t < 4, i < 2).
#pragma once
#include "core/barriers.cuh"
#include "core/launch.cuh"
#include "core/reduce.cuh"
#include "core/wgmma.cuh"
#include "products/split.cuh"

namespace few_rows {

constexpr int tile_rows = 128, chunk = 64, pitch = 80;  // floats from row to row of a stage: no bank conflicts
constexpr int consumers = 256, threads = consumers + 128;

template <int COLUMNS>
struct Stage {  // COLUMNS: rows of x with padding, 64 or 128
  float weight[tile_rows * pitch];
  __half x[2][chunk / 16][COLUMNS * 16];  // high pieces, then low ones
};

template <int COLUMNS>
constexpr int stages = COLUMNS == 64 ? 4 : 3;

struct Barriers {
  unsigned long long full[4], empty[4];
};

template <int COLUMNS>
constexpr int shared_bytes = stages<COLUMNS> * sizeof(Stage<COLUMNS>) + sizeof(Barriers) + 128;

// ---- x's pieces ----

struct Few {
  const float* x;     // (m, k), rows x_stride apart
  __half* pieces;     // (padded / columns, chunks, 2, 4, columns / 8, 2, 8, 8)
  unsigned* largest;  // (padded)
  float* scales;      // (slices, padded)
  long long m, k, x_stride, padded, columns, chunks, slices;
};

constexpr int values = 4096;  // of a row that a block looks at

struct MaxBits {
  __device__ unsigned operator()(unsigned a, unsigned b) const { return max(a, b); }
};

__global__ void __launch_bounds__(256) largest_of_rows(const Few p) {
  __shared__ unsigned scratch[reduce_scratch(256, Reduction::shuffle)];
  const long long row = blockIdx.y, first = blockIdx.x * static_cast<long long>(values);
  unsigned largest = 0;
#pragma unroll
  for (int i = 0; i < values / 256; i++) {
    const long long k = first + i * 256 + threadIdx.x;
    if (k < p.k) largest = max(largest, __float_as_uint(p.x[row * p.x_stride + k]) & 0x7fffffffu);
  }
  largest = block_reduce<256, Reduction::shuffle>(largest, MaxBits{}, scratch);
  if (threadIdx.x == 0) atomicMax(p.largest + row, largest);  // of integers: the same whatever the order
}

// A block cuts eight rows of a chunk, a thread four values.
__global__ void __launch_bounds__(128) cut_few_rows(const Few p) {
  const long long row = blockIdx.y * 8 + threadIdx.x / 16;
  const int step = threadIdx.x % 16 / 4, t = threadIdx.x % 4;
  const long long first = blockIdx.x * static_cast<long long>(chunk) + step * 16 + t * 4;
  const split::Factors by = split::factors(p.largest[row]);
  Vector<4> v{};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (row < p.m && first + i < p.k) v.at[i] = p.x[row * p.x_stride + first + i];
  }
  split::Halves<4> high, low;
  split::cut(v, by.up, high, low);
  const long long group = row % p.columns / 8, place = row / p.columns * p.chunks + blockIdx.x;
  __half* at = p.pieces + ((place * 8 + step) * p.columns + group * 8) * 16 + row % 8 * 8 + 2 * t;
#pragma unroll
  for (int i = 0; i < 2; i++) {  // the first two values, then the other two
    *reinterpret_cast<__half2*>(at + 64 * i) = {high.at[2 * i], high.at[2 * i + 1]};
    *reinterpret_cast<__half2*>(at + 64 * i + 64 * p.columns) = {low.at[2 * i], low.at[2 * i + 1]};
  }
  if (blockIdx.x == 0 && threadIdx.x % 16 == 0) {
    for (long long s = 0; s < p.slices; s++) p.scales[s * p.padded + row] = by.scale;
  }
}

// ---- copies ----

using namespace barriers;

// Sixteen bytes; zeros unless they are `there`.
__device__ __forceinline__ void copy_vector(void* to, const void* from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address(to)), "l"(from), "r"(there ? 16 : 0)
               : "memory");
}

// The thread's arrival once all that it copied so far is there.
__device__ __forceinline__ void arrive_when_copied(unsigned long long* barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(address(barrier)) : "memory");
}

// ---- the product ----

struct Product {
  const float* weight;   // (n, k), rows `stride` apart
  const __half* pieces;  // of x
  float* sums;           // (slices, m, padded), without x's scales
  float* scales;         // (slices, padded): -1 for rows of the weight that are not finite, else 1
  long long m, n, k, stride, padded, chunks, slices;  // chunks of a slice
};

#define FEW_ROWS_8(i)                                                                                        \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])

// d = a * b, or d += a * b.
__device__ __forceinline__ void multiply(float (&d)[32], const uint32_t (&a)[4], uint64_t b, int add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, {%32,%33,%34,%35}, %36, add, 1, 1, 0;\n}"
      : FEW_ROWS_8(0), FEW_ROWS_8(8), FEW_ROWS_8(16), FEW_ROWS_8(24)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}

__device__ __forceinline__ void multiply(float (&d)[64], const uint32_t (&a)[4], uint64_t b, int add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,"
      "%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, {%64,%65,%66,%67}, %68,"
      " add, 1, 1, 0;\n}"
      : FEW_ROWS_8(0), FEW_ROWS_8(8), FEW_ROWS_8(16), FEW_ROWS_8(24), FEW_ROWS_8(32), FEW_ROWS_8(40), FEW_ROWS_8(48),
        FEW_ROWS_8(56)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add));
}
#undef FEW_ROWS_8

// What one block computes.
struct Part {
  long long x_tile, row0, slice, first_chunk, chunks;

  __device__ Part(const Product& p, int columns) {
    const long long tiles = ceil_div(p.n, tile_rows), x_tiles = ceil_div(p.m, columns);
    x_tile = blockIdx.x % x_tiles;
    row0 = blockIdx.x / x_tiles % tiles * tile_rows;
    slice = blockIdx.x / x_tiles / tiles;
    first_chunk = slice * p.chunks;
    chunks = min(p.chunks, ceil_div(p.k, chunk) - first_chunk);
  }
};

// By a warpgroup of its own. Zeros stand for what lies beyond the weight.
template <int COLUMNS>
__device__ __forceinline__ void fill_stages(const Product& p, const Part& part, Stage<COLUMNS>* stage, Barriers* bars) {
  constexpr int vectors = chunk / 4, producers = threads - consumers;
  const int thread = threadIdx.x - consumers, own = thread / vectors, column = thread % vectors * 4;
  const float* weight = p.weight + (part.row0 + own) * p.stride + part.first_chunk * chunk + column;
  const __half* pieces = p.pieces + (part.x_tile * ceil_div(p.k, chunk) + part.first_chunk) * (sizeof(stage->x) / 2);
  for (long long c = 0; c < part.chunks; c++) {
    const int s = c % stages<COLUMNS>;
    if (c >= stages<COLUMNS>) wait(&bars->empty[s], (c / stages<COLUMNS> - 1) % 2);
    if (thread == 0) {
      arrive_expecting(&bars->full[s], sizeof(stage->x));
      copy_bulk(stage[s].x, pieces + c * (sizeof(stage->x) / 2), sizeof(stage->x), &bars->full[s]);
    }
    const bool inside = (part.first_chunk + c) * chunk + column < p.k;
#pragma unroll
    for (int row = 0; row < tile_rows; row += producers / vectors) {
      const bool there = inside && part.row0 + own + row < p.n;
      copy_vector(stage[s].weight + (own + row) * pitch + column, there ? weight + row * p.stride : p.weight, there);
    }
    arrive_when_copied(&bars->full[s]);
    weight += chunk;
  }
}

// Two rows of a thread, eight apart, of a chunk: their values, then their pieces as A's registers.
struct Rows {
  Vector<4> v[2][chunk / 16];
  uint32_t high[chunk / 16][4], low[chunk / 16][4];
  float scale[2];
  bool finite[2] = {true, true};

  // `at` is the first row's, at the thread's first value.
  __device__ __forceinline__ void cut(const float* at) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
      unsigned largest = 0;
#pragma unroll
      for (int j = 0; j < chunk / 16; j++) {
        v[r][j] = load<4>(at + r * 8 * pitch + 16 * j);
#pragma unroll
        for (int i = 0; i < 4; i++) largest = max(largest, __float_as_uint(v[r][j].at[i]) & 0x7fffffffu);
      }
      const split::Factors by = split::factors(warp_reduce<4>(largest, MaxBits{}));
      scale[r] = by.scale;
      finite[r] = finite[r] && by.up != 0.0f;
#pragma unroll
      for (int j = 0; j < chunk / 16; j++) {
#pragma unroll
        for (int i = 0; i < 2; i++) {
          const float first = v[r][j].at[2 * i] * by.up, second = v[r][j].at[2 * i + 1] * by.up;
          const __half2 both = __floats2half2_rn(first, second);
          const float2 back = __half22float2(both);
          const __half2 rest = __floats2half2_rn(first - back.x, second - back.y);
          memcpy(&high[j][2 * i + r], &both, 4);
          memcpy(&low[j][2 * i + r], &rest, 4);
        }
      }
    }
  }
};

template <int COLUMNS>
__device__ __forceinline__ void multiply_chunk(float (&sum)[COLUMNS / 2], Rows& rows, const Stage<COLUMNS>& stage) {
  constexpr int steps = chunk / 16;
  wgmma_settle(sum);
  wgmma_begin(rows.high, rows.low);
#pragma unroll
  for (int j = 0; j < steps; j++) multiply(sum, rows.high[j], wgmma_descriptor(stage.x[1][j]), j > 0);
#pragma unroll
  for (int j = 0; j < steps; j++) multiply(sum, rows.low[j], wgmma_descriptor(stage.x[0][j]), 1);
#pragma unroll
  for (int j = 0; j < steps; j++) multiply(sum, rows.high[j], wgmma_descriptor(stage.x[0][j]), 1);
  wgmma_commit();
  wgmma_wait();
  wgmma_settle(sum);
}

template <int COLUMNS>
__device__ __forceinline__ void consume_stages(const Product& p, const Part& part, Stage<COLUMNS>* stage,
                                               Barriers* bars) {
  const int lane = threadIdx.x % 32, t = lane % 4, own = threadIdx.x / 32 * 16 + lane / 4;
  float sums[COLUMNS / 2] = {}, sum[COLUMNS / 2];
  Rows rows;
  for (long long c = 0; c < part.chunks; c++) {
    const int s = c % stages<COLUMNS>;
    wait(&bars->full[s], c / stages<COLUMNS> % 2);
    rows.cut(stage[s].weight + own * pitch + 4 * t);
    multiply_chunk<COLUMNS>(sum, rows, stage[s]);
    arrive(&bars->empty[s]);  // of every lane: one arrival a warp is a race to racecheck, and no faster
#pragma unroll
    for (int i = 0; i < COLUMNS / 2; i++) sums[i] += sum[i] * rows.scale[i / 2 % 2];
  }
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const long long row = part.row0 + own + 8 * r;
    if (row >= p.n) continue;
    if (t == 0 && part.x_tile == 0) p.scales[part.slice * p.padded + row] = rows.finite[r] ? 1.0f : -1.0f;
#pragma unroll
    for (int i = 0; i < COLUMNS / 8; i++) {
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const long long of_x = part.x_tile * COLUMNS + 8 * i + 2 * t + j;
        if (of_x < p.m) p.sums[(part.slice * p.m + of_x) * p.padded + row] = sums[4 * i + 2 * r + j];
      }
    }
  }
}

template <int COLUMNS>
__global__ void __launch_bounds__(threads, 1) multiply_few(const Product p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ unsigned char memory[];
  unsigned char* aligned = memory + (128 - address(memory) % 128) % 128;
  Stage<COLUMNS>* stage = reinterpret_cast<Stage<COLUMNS>*>(aligned);
  Barriers* bars = reinterpret_cast<Barriers*>(stage + stages<COLUMNS>);
  if (threadIdx.x == 0) {
    for (int s = 0; s < stages<COLUMNS>; s++) {
      prepare(&bars->full[s], threads - consumers + 1);
      prepare(&bars->empty[s], consumers);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();
  const Part part(p, COLUMNS);
  if (threadIdx.x >= consumers) {  // 2 * 216 + 72 registers are 3 * 168, which is what a block begins with
    asm volatile("setmaxnreg.dec.sync.aligned.u32 72;");
    fill_stages<COLUMNS>(p, part, stage, bars);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 216;");
    consume_stages<COLUMNS>(p, part, stage, bars);
  }
#else
  __trap();  // built for sm_90a alone
#endif
}

template <int COLUMNS>
int launch_product(const Product& p, void* stream) {
  const long long blocks = ceil_div(p.n, tile_rows) * ceil_div(p.m, COLUMNS) * p.slices;
  if (blocks > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  const cudaError_t code = cudaFuncSetAttribute(multiply_few<COLUMNS>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                shared_bytes<COLUMNS>);
  if (code != cudaSuccess) return code;
  multiply_few<COLUMNS><<<static_cast<unsigned>(blocks), threads, shared_bytes<COLUMNS>,
                          static_cast<cudaStream_t>(stream)>>>(p);
  return cudaGetLastError();
}

}  // namespace few_rows

// x (m, k), k contiguous -> pieces of padded rows, in tiles of `columns` (64 or 128), and their scales, (slices, padded).
// largest (padded) is workspace.
extern "C" int few_rows_pieces(const float* x, void* pieces, void* largest, float* scales, long long m, long long k,
                               long long x_stride, long long padded, long long columns, long long slices,
                               void* stream) {
  const long long chunks = ceil_div(k, few_rows::chunk);
  const few_rows::Few p{x, static_cast<__half*>(pieces), static_cast<unsigned*>(largest), scales,
                        m, k, x_stride, padded, columns, chunks, slices};
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  const cudaError_t code = cudaMemsetAsync(largest, 0, padded * sizeof(unsigned), on);
  if (code != cudaSuccess) return code;
  const dim3 looking(static_cast<unsigned>(ceil_div(k, few_rows::values)), static_cast<unsigned>(m));
  few_rows::largest_of_rows<<<looking, 256, 0, on>>>(p);
  const dim3 cutting(static_cast<unsigned>(chunks), static_cast<unsigned>(padded / 8));
  few_rows::cut_few_rows<<<cutting, 128, 0, on>>>(p);
  return cudaGetLastError();
}

// weight (n, k), k contiguous, its address and strides multiples of 16 bytes; chunks of 64 values of K to a slice. sums
// (slices, m, padded) and scales (slices, padded) are as finish_product takes them.
extern "C" int few_rows_product(const float* weight, const void* pieces, float* sums, float* scales, long long m,
                                long long n, long long k, long long stride, long long padded, long long columns,
                                long long chunks, long long slices, void* stream) {
  const few_rows::Product p{weight, static_cast<const __half*>(pieces), sums, scales, m, n, k, stride, padded, chunks,
                            slices};
  if (columns == 64) return few_rows::launch_product<64>(p, stream);
  return few_rows::launch_product<128>(p, stream);
}
