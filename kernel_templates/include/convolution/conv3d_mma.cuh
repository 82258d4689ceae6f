// Statistics of a 3-D convolution's output on tensor cores: an implicit matrix product that never writes its result.
//
// For IN input channels and TAPS^3 weights known at compile time; any other shape goes to direct_moments. The block
// keeps its input box in shared memory. A warp takes one output plane and M_TILES * 16 columns, and walks down the
// input rows. At each it gathers the operand (positions x (kd, channel, kw)) once and multiplies it by the weights of
// every kh: TAPS output rows are under way at a time, so what was gathered is used TAPS * CHANNEL_TILES times.
// A finished output row goes from the accumulators straight into the lane's running sums.
//
// Knobs, defined ahead by the source: SCHEME (operands: TF32X3, FP16X3 keep fp32 accuracy; TF32, FP16 keep 11 bits;
// fp16 operands are scaled by powers of two, per box and per output channel, so they neither overflow nor vanish),
// WARPS, M_TILES, CHANNEL_TILES (8 channels each), ROW_CHUNKS (parts of a plane's rows that go to different warps),
// WEIGHTS (REGISTERS or SHARED), PROMOTE (k-steps whose product starts at zero and is then added in fp32, since tensor
// cores truncate what they accumulate; 0: never), MIN_BLOCKS (an SM).
#pragma once
#include "convolution/conv3d_mma_layout.cuh"
#include "convolution/conv3d_stage.cuh"
#include "convolution/conv3d_sums.cuh"
#include "core/mma.cuh"

// One k-step's operand of one 16-position tile.
struct Gathered {
  uint32_t high[4], low[4];
};

template <class S>
using Weights = uint32_t[CHANNEL_TILES][S::WORDS];

// acc (+)= a * b over COUNT k-steps, for all tiles; `fresh` starts at zero instead of at acc.
template <class S, int COUNT>
__device__ __forceinline__ void multiply(float (&acc)[M_TILES][CHANNEL_TILES][4], const Gathered (*a)[M_TILES],
                                         const Weights<S>* b, bool fresh) {
  float product[M_TILES][CHANNEL_TILES][4];
#pragma unroll
  for (int m = 0; m < M_TILES; m++) {
#pragma unroll
    for (int n = 0; n < CHANNEL_TILES; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) product[m][n][i] = fresh || PROMOTE ? 0.0f : acc[m][n][i];
    }
  }
  // The small products first: while the sum is small, little is truncated.
#pragma unroll
  for (int term = S::SPLIT ? 0 : 2; term < 3; term++) {
    const int at = term == 1 ? S::WORDS - 2 : 0;
#pragma unroll
    for (int step = 0; step < COUNT; step++) {
#pragma unroll
      for (int m = 0; m < M_TILES; m++) {
#pragma unroll
        for (int n = 0; n < CHANNEL_TILES; n++) {
          const auto& left = term == 0 ? a[step][m].low : a[step][m].high;
          if constexpr (S::HALF) {
            mma_fp16(product[m][n], left, b[step][n][at], b[step][n][at + 1], product[m][n]);
          } else {
            mma_tf32(product[m][n], left, b[step][n][at], b[step][n][at + 1], product[m][n]);
          }
        }
      }
    }
  }
#pragma unroll
  for (int m = 0; m < M_TILES; m++) {
#pragma unroll
    for (int n = 0; n < CHANNEL_TILES; n++) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        acc[m][n][i] = PROMOTE && !fresh ? acc[m][n][i] + product[m][n][i] : product[m][n][i];
      }
    }
  }
}

// The weights of one (kh, step) for this lane. Volatile: hoisted out of the row loop they would not fit in registers.
template <class S>
__device__ __forceinline__ void load_weights(Weights<S>& b, const uint32_t* shared) {
#pragma unroll
  for (int n = 0; n < CHANNEL_TILES; n++) load_shared(b[n], shared + n * 32 * S::WORDS);
}

// Scales each output channel's weights and lays them out in fragment order.
template <int IN, int TAPS>
__device__ void stage_weights(const Conv3d& c, int channel0, uint32_t* shared) {
  using S = Staged<IN, TAPS>;
  float* scales = reinterpret_cast<float*>(shared + S::SCALES_AT);
  scale_channels<S::HALF>(c, channel0, S::CHANNELS, scales);
  __syncthreads();
  for (int at = threadIdx.x; at < S::FRAGMENTS * 32; at += S::THREADS) {
    const int lane = at % 32, fragment = at / 32;
    const int channel = fragment % CHANNEL_TILES * 8 + lane / 4;
    const int step = fragment / CHANNEL_TILES % S::STEPS, kh = fragment / (CHANNEL_TILES * S::STEPS);
    float v[S::QUADS];
#pragma unroll
    for (int q = 0; q < S::QUADS; q++) {
      const int k = (step * S::QUADS + q) * 4 + lane % 4;
      const int kw = k % TAPS, input = k / TAPS % IN, kd = k / (TAPS * IN);
      const bool real = k < S::K && channel0 + channel < c.out;
      const long long row = (static_cast<long long>(channel0 + channel) * IN + input) * TAPS + kd;
      v[q] = real ? c.weight[(row * TAPS + kh) * TAPS + kw] * scales[channel] : 0.0f;
    }
    uint32_t* to = shared + at * S::WORDS;
#pragma unroll
    for (int pair = 0; pair < 2; pair++) {
      Split part;
      if constexpr (S::HALF) {
        part = pair_fp16(split_fp16(v[2 * pair]), split_fp16(v[2 * pair + 1]));
      } else {
        part = split_tf32(v[pair]);
      }
      to[pair] = part.high;
      if (S::SPLIT) to[2 + pair] = part.low;
    }
  }
}

// One k-step's operand: the lane's four-k groups at `line + offset[...]`, for rows g and g + 8 of each tile.
template <class S>
__device__ __forceinline__ void gather(Gathered (&a)[M_TILES], const uint32_t* line, const int* offset, int step) {
#pragma unroll
  for (int m = 0; m < M_TILES; m++) {
    uint32_t raw[2][S::QUADS];
#pragma unroll
    for (int q = 0; q < S::QUADS; q++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        // A group wholly beyond K meets zero weights: any finite value will do.
        raw[half][q] = (step * S::QUADS + q) * 4 < S::K ? line[offset[step * S::QUADS + q] + m * 16 + half * 8] : 0u;
      }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int half = i % 2, pair = i / 2;
      Split part;
      if constexpr (S::HALF) {
        part = pair_fp16(raw[half][2 * pair], raw[half][2 * pair + 1]);
      } else if constexpr (S::SPLIT) {
        part = split_tf32(__uint_as_float(raw[half][pair]));
      } else {
        part = {round_tf32(__uint_as_float(raw[half][pair])), 0u};
      }
      a[m].high[i] = part.high;
      a[m].low[i] = part.low;
    }
  }
}

// Walks down one strip: `rows` output rows, whose input begins at `line`. What it finishes it adds
// to `sums`. `kept` holds all weights where they stay in registers.
template <int IN, int TAPS, class Activation>
__device__ __forceinline__ void walk(const Conv3d& c, const uint32_t* line,
                                     const int (&offset)[Staged<IN, TAPS>::STEPS * Staged<IN, TAPS>::QUADS], int rows,
                                     const bool (&real)[M_TILES][2], const uint32_t* shared,
                                     const Weights<Staged<IN, TAPS>>* kept, AccumulatorSums<Activation>& sums) {
  using S = Staged<IN, TAPS>;
  float acc[TAPS][M_TILES][CHANNEL_TILES][4];
  for (int base = 0; base < rows + TAPS - 1; base += TAPS) {
#pragma unroll
    for (int i = 0; i < TAPS; i++) {
      const int r = base + i;  // input row; output row r - kh accumulates in acc[(r - kh) % TAPS]
      const bool first = base == 0;
      if (r >= rows + TAPS - 1) break;
#pragma unroll
      for (int step = 0; step < S::STEPS; step += S::GROUP) {
        Gathered a[S::GROUP][M_TILES];
#pragma unroll
        for (int j = 0; j < S::GROUP && step + j < S::STEPS; j++) gather<S>(a[j], line, offset, step + j);
#pragma unroll
        for (int kh = 0; kh < TAPS; kh++) {
          if ((first && i < kh) || r - kh >= rows) continue;
          const int fragment = kh * S::STEPS + step;
          const Weights<S>* b = kept + fragment;
          Weights<S> loaded[S::GROUP];
          if constexpr (WEIGHTS == WEIGHTS_SHARED) {
#pragma unroll
            for (int j = 0; j < S::GROUP && step + j < S::STEPS; j++) {
              load_weights<S>(loaded[j], shared + ((fragment + j) * CHANNEL_TILES * 32 + threadIdx.x % 32) * S::WORDS);
            }
            b = loaded;
          }
          auto& sum = acc[(i - kh + TAPS) % TAPS];
          const bool fresh = kh == 0 && step == 0;
          if (step + S::GROUP <= S::STEPS) {
            multiply<S, S::GROUP>(sum, a, b, fresh);
          } else {
            multiply<S, S::STEPS % S::GROUP>(sum, a, b, fresh);
          }
        }
      }
      line += c.w;
      if (first && i < TAPS - 1) continue;
#pragma unroll
      for (int m = 0; m < M_TILES; m++) {
        const float* finished = &acc[(i + 1) % TAPS][m][0][0];
        if (m == 0 && i == TAPS - 1 && first) sums.pivot_at(finished);
        sums.add(finished, real[m]);
      }
    }
  }
}

template <int IN, int TAPS, class Activation>
__global__ void __launch_bounds__(32 * WARPS, MIN_BLOCKS) staged_moments(const Conv3d c, double2* moments) {
  using S = Staged<IN, TAPS>;
  extern __shared__ uint4 shared_memory[];
  uint32_t* shared = reinterpret_cast<uint32_t*>(shared_memory);
  const float* scales = reinterpret_cast<const float*>(shared + S::SCALES_AT);
  float* maxima = reinterpret_cast<float*>(shared + S::MAXIMA_AT);
  Moments<double>* totals = reinterpret_cast<Moments<double>*>(shared + S::MOMENTS_AT);
  uint32_t* box = shared + S::BOX_AT;

  // From lane 0, so that the compiler knows that all of a warp takes the same branches.
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32, g = lane / 4;
  const int channel0 = blockIdx.y * S::CHANNELS;
  const int n = blockIdx.x / c.slots, slot = blockIdx.x % c.slots;
  const float* sample = c.x + static_cast<long long>(n) * IN * c.d * c.h * c.w;
  const Box whole = box_of(c, slot);

  // The first part is under way while the weights are brought in order.
  const Box start = part_of(c, whole, 0, 0);
  copy_input(c, sample, start, pitch_of(c, start), box);
  for (int i = threadIdx.x; i < WARPS * S::CHANNELS; i += S::THREADS) totals[i] = {0.0, 0.0, 0.0};
  stage_weights<IN, TAPS>(c, channel0, shared);
  __syncthreads();
  Weights<S> kept[WEIGHTS == WEIGHTS_REGISTERS ? TAPS * S::STEPS : 1];
  if constexpr (WEIGHTS == WEIGHTS_REGISTERS) {
#pragma unroll
    for (int i = 0; i < TAPS * S::STEPS; i++) {
      load_weights<S>(kept[i], shared + (i * CHANNEL_TILES * 32 + lane) * S::WORDS);
    }
  }

  for (int d = 0; d < whole.planes; d += c.part_d) {
    for (int h = 0; h < whole.rows; h += c.part_h) {
      const Box part = part_of(c, whole, d, h);
      const int pitch = pitch_of(c, part);
      if (d + h > 0) copy_input(c, sample, part, pitch, box);
      const float scale = finish_input<S::HALF>(c, part, pitch, maxima, box);

      int offset[S::STEPS * S::QUADS];
      gather_offsets<TAPS, S::K, 1>(offset, pitch);

      const int groups = static_cast<int>(ceil_div(c.ow, S::COLUMNS));
      const int chunk = static_cast<int>(ceil_div(part.rows, ROW_CHUNKS));
      for (int unit = warp; unit < part.planes * groups * ROW_CHUNKS; unit += WARPS) {
        const int plane = unit % part.planes, column0 = unit / part.planes % groups * S::COLUMNS;
        const int row0 = unit / (part.planes * groups) * chunk, rows = min(chunk, part.rows - row0);
        if (rows <= 0) continue;
        const uint32_t* line = box + plane * IN * pitch + row0 * c.w + column0 + g;

        bool real[M_TILES][2];
        int real_count = 0;
#pragma unroll
        for (int m = 0; m < M_TILES; m++) {
#pragma unroll
          for (int half = 0; half < 2; half++) {
            real[m][half] = column0 + m * 16 + half * 8 + g < c.ow;
            real_count += real[m][half];
          }
        }
        AccumulatorSums<Activation> sums;
        sums.start(c, channel0, scale, scales);

        walk<IN, TAPS>(c, line, offset, rows, real, shared, kept, sums);
        sums.finish(rows * real_count, scale, scales, totals + warp * S::CHANNELS, false);
      }
      __syncthreads();  // the box is free again, and the totals are there for all to see
    }
  }

  write_totals<Activation>(c, channel0, n, slot, totals, moments);
}

// Fills moments (n, out, slots) of {mean, m2}: staged when IN and TAPS are the convolution's, else direct.
template <int IN, int TAPS, class Activation>
cudaError_t launch_staged(Conv3d c, long long n, double2* moments, cudaStream_t stream) {
  using S = Staged<IN, TAPS>;
  int limit;
  cudaError_t error = shared_memory_per_block(limit);
  if (error != cudaSuccess) return error;
  if (c.in != IN || c.taps != TAPS || !fit<S>(c, limit)) return launch_direct<Activation>(c, n, moments, stream);
  if (n * c.slots > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  const int bytes = static_cast<int>(S::shared_bytes(c, c.part_d, c.part_h));
  const auto kernel = staged_moments<IN, TAPS, Activation>;
  error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) return error;
  const dim3 grid(static_cast<unsigned>(n * c.slots), static_cast<unsigned>(ceil_div(c.out, S::CHANNELS)));
  kernel<<<grid, S::THREADS, bytes, stream>>>(c, moments);
  return cudaGetLastError();
}
