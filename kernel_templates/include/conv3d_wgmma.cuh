// As conv3d_mma.cuh, with Hopper's warpgroup products (sm_90a) of fp16 operands.
//
// One product takes the gathered operand times the weights of all kh at once: TAPS * CHANNELS columns, of which
// columns kh belong to output row r - kh. The product of each input row starts at zero and is added in fp32 to the
// TAPS - 1 rows that are under way. A warp takes one plane and 16 columns; the four of a warpgroup walk together.
//
// Knobs, defined ahead by the source: SCHEME (FP16X3 keeps fp32 accuracy, FP16 11 bits), WARPS (a multiple of four),
// ROW_CHUNKS (parts of a plane's rows for different warpgroups), MIN_BLOCKS (an SM). CHANNEL_TILES is the source's.
#pragma once
#include "conv3d_stage.cuh"
#include "wgmma.cuh"

template <int IN, int TAPS>
struct Walking {
  static constexpr bool SPLIT = SCHEME == SCHEME_FP16X3;
  static constexpr int PIECES = SPLIT ? 2 : 1;  // of the weights: high, low
  static constexpr int THREADS = 32 * WARPS, WARPGROUPS = WARPS / 4;
  static constexpr int CHANNELS = 8 * CHANNEL_TILES, N = TAPS * CHANNELS;
  static constexpr int K = TAPS * IN * TAPS;  // gathered for one input row: (kd, channel, kw), kw fastest
  static constexpr int STEPS = (K + 15) / 16;
  static constexpr int QUADS = (K + 3) / 4;  // groups of four k that hold a real one
  static constexpr int B_WORDS = N * 8;      // of one step and piece
  static_assert(WARPS % 4 == 0, "whole warpgroups");

  // Shared memory, in words of four bytes: weights, a scale a channel, a maximum a warp, moments, the box.
  static constexpr int SCALES_AT = PIECES * STEPS * B_WORDS;
  static constexpr int MAXIMA_AT = SCALES_AT + CHANNELS;
  static constexpr int MOMENTS_AT = MAXIMA_AT + WARPS;
  static constexpr int BOX_AT = MOMENTS_AT + WARPS * CHANNELS * 3 * 2;

  static long long shared_bytes(const Conv3d& c, int planes, int rows) {
    const long long image = image_pitch((rows + TAPS - 1) * c.w);
    return 4 * (BOX_AT + (planes + TAPS - 1) * IN * image + 32);
  }
};

// Weights as B: row k, column kh * CHANNELS + channel. Within a step, lane t's pairs of k are those that it gathers:
// row 2t + e of the first eight stands for k = 4e + t, of the last eight for k = 8 + 4e + t.
template <int IN, int TAPS>
__device__ void stage_columns(const Conv3d& c, int channel0, const float* scales, uint32_t* shared) {
  using S = Walking<IN, TAPS>;
  for (int at = threadIdx.x; at < S::STEPS * S::N * 8; at += S::THREADS) {
    const int pair = at % 4, column8 = at / 4 % 8, upper = at / 32 % 2, block = at / 64 % (S::N / 8);
    const int step = at / (S::N * 8), kh = block / CHANNEL_TILES;
    const int channel = block % CHANNEL_TILES * 8 + column8;
    float v[2];
#pragma unroll
    for (int e = 0; e < 2; e++) {
      const int k = step * 16 + upper * 8 + e * 4 + pair;
      const int kw = k % TAPS, input = k / TAPS % IN, kd = k / (TAPS * IN);
      const bool real = k < S::K && channel0 + channel < c.out;
      const long long row = (static_cast<long long>(channel0 + channel) * IN + input) * TAPS + kd;
      v[e] = real ? c.weight[(row * TAPS + kh) * TAPS + kw] * scales[channel] : 0.0f;
    }
    const Split part = pair_fp16(split_fp16(v[0]), split_fp16(v[1]));
    shared[at] = part.high;
    if (S::SPLIT) shared[S::STEPS * S::B_WORDS + at] = part.low;
  }
}

template <int IN, int TAPS, bool HARDSWISH>
__global__ void __launch_bounds__(32 * WARPS, MIN_BLOCKS) walking_moments(const Conv3d c, double2* moments) {
  using S = Walking<IN, TAPS>;
  extern __shared__ uint4 shared_memory[];
  uint32_t* shared = reinterpret_cast<uint32_t*>(shared_memory);
  float* scales = reinterpret_cast<float*>(shared + S::SCALES_AT);
  float* maxima = reinterpret_cast<float*>(shared + S::MAXIMA_AT);
  WideMoments* totals = reinterpret_cast<WideMoments*>(shared + S::MOMENTS_AT);
  uint32_t* box = shared + S::BOX_AT;

  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int channel0 = blockIdx.y * S::CHANNELS;
  const int n = blockIdx.x / c.slots, slot = blockIdx.x % c.slots;
  const float* sample = c.x + static_cast<long long>(n) * IN * c.d * c.h * c.w;
  const Box whole = box_of(c, slot);

  // The first part is under way while the weights are brought in order.
  const Box start = part_of(c, whole, 0, 0);
  copy_input(c, sample, start, pitch_of(c, start), box);
  for (int i = threadIdx.x; i < WARPS * S::CHANNELS; i += S::THREADS) totals[i] = {0.0, 0.0, 0.0};
  scale_channels<true>(c, channel0, S::CHANNELS, scales);
  __syncthreads();
  stage_columns<IN, TAPS>(c, channel0, scales, shared);
  wgmma_publish();
  const uint64_t weights = wgmma_descriptor(shared);

  for (int d = 0; d < whole.planes; d += c.part_d) {
    for (int h = 0; h < whole.rows; h += c.part_h) {
      const Box part = part_of(c, whole, d, h);
      const int pitch = pitch_of(c, part);
      if (d + h > 0) copy_input(c, sample, part, pitch, box);
      const float scale = finish_input<true>(c, part, pitch, maxima, box);

      int offset[S::QUADS];
#pragma unroll
      for (int q = 0; q < S::QUADS; q++) {
        const int k = min(q * 4 + t, S::K - 1);  // beyond K: a neighbour's value, against a zero weight
        offset[q] = k / TAPS * pitch + k % TAPS;
      }

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
        LaneSums<HARDSWISH> sums;
        sums.start(c, channel0, scale, scales);

        uint32_t raw[S::QUADS][2];
#pragma unroll
        for (int q = 0; q < S::QUADS; q++) raw[q][0] = line[offset[q]], raw[q][1] = line[offset[q] + 8];
        float under_way[TAPS - 1][CHANNEL_TILES][4] = {};  // [i]: the output row that i + 1 input rows have reached
        for (int r = 0; r < rows + TAPS - 1; r++) {
          uint32_t high[S::STEPS][4], low[S::STEPS][4];
#pragma unroll
          for (int step = 0; step < S::STEPS; step++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
              const int q = step * 4 + i / 2 * 2;
              const uint32_t first = q < S::QUADS ? raw[q][i % 2] : 0u;
              const uint32_t second = q + 1 < S::QUADS ? raw[q + 1][i % 2] : 0u;
              const Split pair = pair_fp16(first, second);
              high[step][i] = pair.high, low[step][i] = pair.low;
            }
          }
          float product[TAPS * CHANNEL_TILES * 4];
          wgmma_begin(high, low);
          // The small products first: while the sum is small, little is truncated.
          if constexpr (S::SPLIT) {
#pragma unroll
            for (int step = 0; step < S::STEPS; step++) {
              wgmma_fp16(product, low[step], weights + step * (S::B_WORDS / 4), step > 0);
              wgmma_fp16(product, high[step], weights + (S::STEPS + step) * (S::B_WORDS / 4), true);
            }
          }
#pragma unroll
          for (int step = 0; step < S::STEPS; step++) {
            wgmma_fp16(product, high[step], weights + step * (S::B_WORDS / 4), S::SPLIT || step > 0);
          }
          wgmma_commit();
          line += c.w;
          if (r + 1 < rows + TAPS - 1) {
#pragma unroll
            for (int q = 0; q < S::QUADS; q++) raw[q][0] = line[offset[q]], raw[q][1] = line[offset[q] + 8];
          }
          wgmma_wait(product);
          float done[CHANNEL_TILES][4];
#pragma unroll
          for (int i = 0; i < CHANNEL_TILES; i++) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
              done[i][j] = under_way[TAPS - 2][i][j] + product[((TAPS - 1) * CHANNEL_TILES + i) * 4 + j];
#pragma unroll
              for (int kh = TAPS - 2; kh > 0; kh--) {
                under_way[kh][i][j] = under_way[kh - 1][i][j] + product[(kh * CHANNEL_TILES + i) * 4 + j];
              }
              under_way[0][i][j] = product[i * 4 + j];
            }
          }
          if (r >= TAPS - 1) sums.add(done, real, r == TAPS - 1);
        }
        sums.finish(rows * (real[0] + real[1]), scale, scales, totals + warp * S::CHANNELS);
      }
      __syncthreads();  // the box is free again, and the totals are there for all to see
    }
  }
  write_totals(c, channel0, n, slot, totals, moments);
}

// Fills moments (n, out, slots) of {mean, m2}: on tensor cores when IN and TAPS are the convolution's, else direct.
template <int IN, int TAPS, bool HARDSWISH>
cudaError_t launch_walking(Conv3d c, long long n, double2* moments, cudaStream_t stream) {
  using S = Walking<IN, TAPS>;
  int limit;
  cudaError_t error = shared_memory_per_block(limit);
  if (error != cudaSuccess) return error;
  if (c.in != IN || c.taps != TAPS || !fit<S>(c, limit)) return launch_direct<HARDSWISH>(c, n, moments, stream);
  if (n * c.slots > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  const int bytes = static_cast<int>(S::shared_bytes(c, c.part_d, c.part_h));
  const auto kernel = walking_moments<IN, TAPS, HARDSWISH>;
  error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) return error;
  const dim3 grid(static_cast<unsigned>(n * c.slots), static_cast<unsigned>(ceil_div(c.out, S::CHANNELS)));
  kernel<<<grid, S::THREADS, bytes, stream>>>(c, moments);
  return cudaGetLastError();
}
