// As conv3d_mma.cuh, with Hopper's warpgroup products (sm_90a) of fp16 operands.
//
// One product takes the gathered operand times the weights of all kh at once: TAPS * CHANNELS columns, of which
// columns kh belong to output row r - kh. Output row o is added up in slot o % TAPS of the accumulators; instead of
// the slots, the weights go round: they lie there 2 TAPS - 1 times CHANNELS columns long, and a product starts where
// every slot meets its kh. A warp takes one plane and 16 columns; the four of a warpgroup walk together.
// Blocks stay: each lays out its weights once and then takes one slot of the output after the other.
//
// Knobs, defined ahead by the source: SCHEME (FP16X3 keeps fp32 accuracy, FP16 11 bits), WARPS (a multiple of four),
// ROW_CHUNKS (parts of a plane's rows for different warpgroups), MIN_BLOCKS (an SM), SUMS (below). CHANNEL_TILES is
// the source's.
//
// Tensor cores truncate whenever they add to an accumulator, by as much as it is large. SUMS says what they add up:
// TOGETHER all of an output row in one accumulator; CROSS_APART the small products with a low part in another one,
// so that the large one is truncated a third as often; ROWS one input row, which fp32 then adds to the others.
#pragma once
#include "convolution/conv3d_stage.cuh"
#include "convolution/conv3d_sums.cuh"
#include "convolution/conv3d_wgmma_layout.cuh"
#include "core/wgmma.cuh"

// Weights as B: row k, column i * CHANNELS + channel for kh = (TAPS - 1 - i) mod TAPS. Within a step, lane t's pairs
// of k are those that it gathers: unless PAIRED, row 2t + e of the first eight stands for k = 4e + t, of the last
// eight for k = 8 + 4e + t.
template <int IN, int TAPS>
__device__ void stage_columns(const Conv3d& c, int channel0, const float* scales, uint32_t* shared) {
  using S = Walking<IN, TAPS>;
#pragma unroll 4
  for (int at = threadIdx.x; at < S::STEPS * S::N * 8; at += S::THREADS) {
    const int pair = at % 4, column8 = at / 4 % 8, upper = at / 32 % 2, block = at / 64 % (S::N / 8);
    const int step = at / (S::N * 8), kh = TAPS - 1 - block / CHANNEL_TILES;
    const int channel = block % CHANNEL_TILES * 8 + column8;
    float v[2];
#pragma unroll
    for (int e = 0; e < 2; e++) {
      const int k = step * 16 + upper * 8 + (S::PAIRED ? 2 * pair + e : 4 * e + pair);
      const int kw = k % TAPS, input = k / TAPS % IN, kd = k / (TAPS * IN);
      const bool real = k < S::K && channel0 + channel < c.out;
      const long long row = (static_cast<long long>(channel0 + channel) * IN + input) * TAPS + kd;
      v[e] = real ? c.weight[(row * TAPS + kh) * TAPS + kw] * scales[channel] : 0.0f;
    }
    const Split part = pair_fp16(split_fp16(v[0]), split_fp16(v[1]));
    for (int copy = block; copy < S::BLOCKS; copy += S::N / 8) {
      const int to = step * S::B_WORDS + copy * 64 + at % 64;
      shared[to] = part.high;
      if (S::SPLIT) shared[S::STEPS * S::B_WORDS + to] = part.low;
    }
  }
}

// The operands A of one input row, from its gathered words.
template <class S>
__device__ __forceinline__ void operands(uint32_t (&high)[S::STEPS][4], uint32_t (&low)[S::STEPS][4],
                                         const uint32_t (&raw)[S::QUADS][2]) {
#pragma unroll
  for (int step = 0; step < S::STEPS; step++) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int q = (step * 4 + i / 2 * 2) / S::WORD_K;
      const uint32_t first = q < S::QUADS ? raw[q][i % 2] : 0u;
      if constexpr (S::PAIRED) {
        high[step][i] = first, low[step][i] = 0u;
      } else {
        const uint32_t second = q + 1 < S::QUADS ? raw[q + 1][i % 2] : 0u;
        const Split pair = pair_fp16(first, second);
        high[step][i] = pair.high, low[step][i] = pair.low;
      }
    }
  }
}

// Adds one input row's products: those with a low part to `small`, the others to `large`, which may be the same.
template <class S, int R>
__device__ __forceinline__ void multiply_row(float (&small)[R], float (&large)[R], const uint32_t (&high)[S::STEPS][4],
                                             const uint32_t (&low)[S::STEPS][4], uint64_t weights) {
  // The small products first: while the sum is small, little is truncated.
  if constexpr (S::SPLIT) {
#pragma unroll
    for (int step = 0; step < S::STEPS; step++) {
      wgmma_fp16(small, low[step], weights + step * (S::B_WORDS / 4));
      wgmma_fp16(small, high[step], weights + (S::STEPS + step) * (S::B_WORDS / 4));
    }
  }
#pragma unroll
  for (int step = 0; step < S::STEPS; step++) wgmma_fp16(large, high[step], weights + step * (S::B_WORDS / 4));
}

// Walks down one strip: `rows` output rows, whose input begins at `line`. All of a warpgroup call
// it with the same `rows`. What it finishes it adds to `sums`; the first row of the first call, which sets `pivoted`,
// gives these their pivots.
template <int IN, int TAPS, class Activation>
__device__ __forceinline__ void walk(const Conv3d& c, const uint32_t* line, const int (&offset)[Walking<IN, TAPS>::QUADS],
                                     int rows, const bool (&real)[2], uint64_t weights,
                                     AccumulatorSums<Activation>& sums, bool& pivoted) {
  using S = Walking<IN, TAPS>;
  constexpr int SLOT = CHANNEL_TILES * 4;  // accumulators of one output row
  // Gathered words; PAIRED, when they are operands as they are, alternately for rows at work and rows to come.
  uint32_t raw[S::PAIRED ? 2 : 1][S::QUADS][2];
#pragma unroll
  for (int q = 0; q < S::QUADS; q++) raw[0][q][0] = line[offset[q]], raw[0][q][1] = line[offset[q] + 8];
  float sum[TAPS * SLOT] = {}, part[TAPS * SLOT] = {};
  auto& small = SUMS == SUMS_TOGETHER ? sum : part;  // where products with a low part go
  auto& large = SUMS == SUMS_ROWS ? part : sum;
  for (int r = 0; r < rows + TAPS - 1; r += TAPS) {
#pragma unroll
    for (int phase = 0; phase < TAPS; phase++) {  // that of slot `phase` begins
      if (r + phase >= rows + TAPS - 1) break;
      const int now = S::PAIRED ? phase % 2 : 0, then = S::PAIRED ? 1 - now : 0;
      uint32_t high[S::STEPS][4], low[S::STEPS][4];
      operands<S>(high, low, raw[now]);
#pragma unroll
      for (int i = 0; i < TAPS * SLOT; i++) {
        if (i / SLOT == phase) sum[i] = 0.0f;
        if (SUMS == SUMS_ROWS || i / SLOT == phase) part[i] = 0.0f;
      }
      const uint64_t turned = weights + (TAPS - 1 - phase) * CHANNEL_TILES * 16;
      wgmma_settle(large);
      if constexpr (SUMS == SUMS_CROSS_APART) wgmma_settle(small);
      wgmma_begin(high, low);
      multiply_row<S>(small, large, high, low, turned);
      wgmma_commit();
      if (r + phase < rows + TAPS - 2) line += c.w;  // the last row is gathered once more, for nothing
#pragma unroll
      for (int q = 0; q < S::QUADS; q++) {
        raw[then][q][0] = line[offset[q]], raw[then][q][1] = line[offset[q] + 8];
      }
      wgmma_wait();
      wgmma_settle(large);
      if constexpr (SUMS == SUMS_CROSS_APART) wgmma_settle(small);
      const int finished = (phase + 1) % TAPS * SLOT;
      if constexpr (SUMS != SUMS_TOGETHER) {
#pragma unroll
        for (int i = 0; i < TAPS * SLOT; i++) {
          if (SUMS == SUMS_ROWS || i / SLOT == finished / SLOT) sum[i] += part[i];
        }
      }
      if (phase == TAPS - 1 && !pivoted) sums.pivot_at(&sum[finished]), pivoted = true;
      if (phase == TAPS - 1 || r > 0) sums.add(&sum[finished], real);
    }
  }
}

template <int IN, int TAPS, class Activation>
__global__ void __launch_bounds__(32 * WARPS, MIN_BLOCKS)
    walking_moments(const Conv3d c, const int items, double2* moments) {
  using S = Walking<IN, TAPS>;
  extern __shared__ uint4 shared_memory[];
  let_next_start();
  uint32_t* shared = reinterpret_cast<uint32_t*>(shared_memory);
  float* scales = reinterpret_cast<float*>(shared + S::SCALES_AT);
  float* maxima = reinterpret_cast<float*>(shared + S::MAXIMA_AT);
  Moments<double>* totals = reinterpret_cast<Moments<double>*>(shared + S::MOMENTS_AT);
  uint32_t* box = shared + S::BOX_AT;

  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), g = threadIdx.x % 32 / 4;
  const int channel0 = blockIdx.y * S::CHANNELS;
  const auto copy_part = [&](int item, Box part) {
    copy_input(c, c.x + static_cast<long long>(item / c.slots) * IN * c.d * c.h * c.w, part, pitch_of(c, part), box);
  };

  // The first part is under way while the weights are brought in order.
  copy_part(blockIdx.x, part_of(c, box_of(c, blockIdx.x % c.slots), 0, 0));
  scale_channels<true>(c, channel0, S::CHANNELS, scales);
  __syncthreads();
  stage_columns<IN, TAPS>(c, channel0, scales, shared);
  wgmma_publish();
  const uint64_t weights = wgmma_descriptor(shared);

  for (int item = blockIdx.x; item < items; item += gridDim.x) {
    const Box whole = box_of(c, item % c.slots);
    for (int d = 0; d < whole.planes; d += c.part_d) {
      for (int h = 0; h < whole.rows; h += c.part_h) {
        const Box part = part_of(c, whole, d, h);
        const int pitch = pitch_of(c, part);
        if (d + h > 0) copy_part(item, part);
        const float scale = finish_input<true, S::PAIRED>(c, part, pitch, maxima, box);

        int offset[S::QUADS];
        gather_offsets<TAPS, S::K, S::WORD_K>(offset, pitch);
        AccumulatorSums<Activation> sums;
        sums.start(c, channel0, scale, scales);
        int count = 0;  // of this lane's real values a channel
        bool pivoted = false;
        // Strips of one plane and 16 columns, four at a time; those beyond the last repeat it and count nothing.
        const int across = static_cast<int>(ceil_div(c.ow, 16)), strips = part.planes * across;
        const int fours = static_cast<int>(ceil_div(strips, 4));
        const int chunk = static_cast<int>(ceil_div(part.rows, ROW_CHUNKS));
        for (int unit = warp / 4; unit < fours * ROW_CHUNKS; unit += S::WARPGROUPS) {
          const int strip = unit % fours * 4 + warp % 4, known = min(strip, strips - 1);
          const int plane = known / across, column0 = known % across * 16;
          const int row0 = unit / fours * chunk, rows = min(chunk, part.rows - row0);
          if (rows <= 0) continue;
          const uint32_t* line = box + plane * IN * pitch + row0 * c.w + column0 + g;
          const bool real[2] = {strip == known && column0 + g < c.ow, strip == known && column0 + 8 + g < c.ow};
          count += rows * (real[0] + real[1]);

          walk<IN, TAPS>(c, line, offset, rows, real, weights, sums, pivoted);
        }
        sums.finish(count, scale, scales, totals + warp * S::CHANNELS, d + h == 0);
        __syncthreads();  // the box is free again, and the totals are there for all to see
      }
    }
    const int next = item + static_cast<int>(gridDim.x);
    if (next < items) copy_part(next, part_of(c, box_of(c, next % c.slots), 0, 0));
    write_totals<Activation>(c, channel0, item / c.slots, item % c.slots, totals, moments);
  }
}

// Fills moments (n, out, slots) of {mean, m2}: on tensor cores when IN and TAPS are the convolution's, else direct.
template <int IN, int TAPS, class Activation>
cudaError_t launch_walking(Conv3d c, long long n, double2* moments, cudaStream_t stream) {
  using S = Walking<IN, TAPS>;
  int limit;
  cudaError_t error = shared_memory_per_block(limit);
  if (error != cudaSuccess) return error;
  if (c.in != IN || c.taps != TAPS || !fit<S>(c, limit)) return launch_direct<Activation>(c, n, moments, stream);
  if (n * c.slots > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  int device, processors;
  if ((error = cudaGetDevice(&device)) != cudaSuccess) return error;
  error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  if (error != cudaSuccess) return error;
  const int bytes = static_cast<int>(S::shared_bytes(c, c.part_d, c.part_h)), items = static_cast<int>(n * c.slots);
  const auto kernel = walking_moments<IN, TAPS, Activation>;
  error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) return error;
  const int resident = processors * MIN_BLOCKS;
  const dim3 grid(items < resident ? items : resident, static_cast<unsigned>(ceil_div(c.out, S::CHANNELS)));
  kernel<<<grid, S::THREADS, bytes, stream>>>(c, items, moments);
  return cudaGetLastError();
}
