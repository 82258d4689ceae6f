// Statistics of a 3-D convolution's output in plain fp32, without writing that output.
//
// For TAPS known at compile time and any number of channels; what does not fit in shared memory goes to
// direct_moments. A lane takes one column of PLANES output planes and LANE_CHANNELS channels, and walks down the input
// rows: each value it reads serves TAPS rows under way and LANE_CHANNELS channels, each weight PLANES planes.
//
// Knobs, defined ahead by the source: WARPS, PLANES, LANE_CHANNELS (a multiple of four that divides 8 * CHANNEL_TILES),
// CHANNEL_TILES (8 channels each, a block), ROW_CHUNKS (parts of a plane's rows for different warps), MIN_BLOCKS.
#pragma once
#include "convolution/conv3d_simt_layout.cuh"
#include "convolution/conv3d_stage.cuh"
#include "convolution/conv3d_sums.cuh"

// The weights of the block's channels as slices, one for each (kd, input channel).
template <int TAPS>
__device__ void stage_slices(const Conv3d& c, int channel0, float* weights) {
  using S = Plain<TAPS>;
  for (int i = threadIdx.x; i < TAPS * c.in * S::SLICE; i += S::THREADS) {
    const int channel = channel0 + i % S::CHANNELS, kh = i / S::CHANNELS % TAPS, kw = i / (S::CHANNELS * TAPS) % TAPS;
    const int input = i / S::SLICE % c.in, kd = i / S::SLICE / c.in;
    const long long row = (static_cast<long long>(channel) * c.in + input) * TAPS + kd;
    weights[i] = channel < c.out ? c.weight[(row * TAPS + kh) * TAPS + kw] : 0.0f;
  }
}

// Walks down one column: `rows` output rows of `planes` planes, whose input of plane p begins at values[line[p]],
// each slice's `pitch` words on. Adds what it finishes to `sums`.
template <int TAPS, class Activation>
__device__ __forceinline__ void walk(const Conv3d& c, int (&line)[PLANES], const float* values, int pitch, int slices,
                                     const float* weights, int rows, int planes, const float (&bias)[LANE_CHANNELS],
                                     RunningSums (&sums)[LANE_CHANNELS]) {
  using S = Plain<TAPS>;
  float acc[TAPS][PLANES][LANE_CHANNELS] = {};  // [kh]: output row r - kh
  for (int r = 0; r < rows + TAPS - 1; r++) {
#pragma unroll 1
    for (int slice = 0; slice < slices; slice++) {
      const float4* weight = reinterpret_cast<const float4*>(weights + slice * S::SLICE);
#pragma unroll
      for (int kw = 0; kw < TAPS; kw++) {
        float v[PLANES];
#pragma unroll
        for (int p = 0; p < PLANES; p++) v[p] = values[line[p] + slice * pitch + kw];
#pragma unroll
        for (int kh = 0; kh < TAPS; kh++) {
#pragma unroll
          for (int i = 0; i < LANE_CHANNELS; i += 4) {
            const float4 w = weight[((kw * TAPS + kh) * S::CHANNELS + i) / 4];
#pragma unroll
            for (int p = 0; p < PLANES; p++) {
              acc[kh][p][i] = fmaf(v[p], w.x, acc[kh][p][i]);
              acc[kh][p][i + 1] = fmaf(v[p], w.y, acc[kh][p][i + 1]);
              acc[kh][p][i + 2] = fmaf(v[p], w.z, acc[kh][p][i + 2]);
              acc[kh][p][i + 3] = fmaf(v[p], w.w, acc[kh][p][i + 3]);
            }
          }
        }
      }
    }
#pragma unroll
    for (int p = 0; p < PLANES; p++) {
      line[p] += c.w;
#pragma unroll
      for (int i = 0; i < LANE_CHANNELS; i++) {
        float y = acc[TAPS - 1][p][i];
        if constexpr (!Activation::LINEAR) y = Activation()(fmaf(y, 1.0f / Activation::SCALE, bias[i]));
        if (p == 0 && r == TAPS - 1) sums[i].pivot = y;
        if (r >= TAPS - 1 && p < planes) sums[i].add(y);
#pragma unroll
        for (int kh = TAPS - 1; kh > 0; kh--) acc[kh][p][i] = acc[kh - 1][p][i];
        acc[0][p][i] = 0.0f;
      }
    }
  }
}

template <int TAPS, class Activation>
__global__ void __launch_bounds__(32 * WARPS, MIN_BLOCKS) plain_moments(const Conv3d c, double2* moments) {
  using S = Plain<TAPS>;
  static_assert(LANE_CHANNELS % 4 == 0 && S::CHANNELS % LANE_CHANNELS == 0, "whole vectors of channels, whole chunks");
  extern __shared__ uint4 shared_memory[];
  uint32_t* shared = reinterpret_cast<uint32_t*>(shared_memory);
  float* weights = reinterpret_cast<float*>(shared);
  Moments<double>* totals = reinterpret_cast<Moments<double>*>(shared + S::moments_at(c));
  uint32_t* box = shared + S::box_at(c);
  const float* values = reinterpret_cast<const float*>(box);

  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
  const int channel0 = blockIdx.y * S::CHANNELS, slices = TAPS * c.in;
  const int n = blockIdx.x / c.slots, slot = blockIdx.x % c.slots;
  const float* sample = c.x + static_cast<long long>(n) * c.in * c.d * c.h * c.w;
  const Box whole = box_of(c, slot);

  // The first part is under way while the weights are brought in order.
  const Box start = part_of(c, whole, 0, 0);
  copy_input(c, sample, start, pitch_of(c, start), box);
  for (int i = threadIdx.x; i < WARPS * S::CHANNELS; i += S::THREADS) totals[i] = {0.0, 0.0, 0.0};
  stage_slices<TAPS>(c, channel0, weights);

  for (int d = 0; d < whole.planes; d += c.part_d) {
    for (int h = 0; h < whole.rows; h += c.part_h) {
      const Box part = part_of(c, whole, d, h);
      const int pitch = pitch_of(c, part);
      if (d + h > 0) copy_input(c, sample, part, pitch, box);
      finish_input<false>(c, part, pitch, nullptr, box);

      constexpr int PARTS = S::CHANNELS / LANE_CHANNELS;
      const int across = static_cast<int>(ceil_div(c.ow, 32)), deep = static_cast<int>(ceil_div(part.planes, PLANES));
      const int chunk = static_cast<int>(ceil_div(part.rows, ROW_CHUNKS));
      for (int unit = warp; unit < PARTS * across * deep * ROW_CHUNKS; unit += WARPS) {
        const int first_channel = unit % PARTS * LANE_CHANNELS, column = unit / PARTS % across * 32 + lane;
        const int plane0 = unit / (PARTS * across) % deep * PLANES;
        const int row0 = unit / (PARTS * across * deep) * chunk, rows = min(chunk, part.rows - row0);
        const int planes = min(PLANES, part.planes - plane0);
        if (rows <= 0) continue;
        const bool real = column < c.ow;

        int line[PLANES];  // where the lane's input of each plane starts; planes beyond the last repeat it
#pragma unroll
        for (int p = 0; p < PLANES; p++) {
          line[p] = (plane0 + min(p, planes - 1)) * c.in * pitch + row0 * c.w + min(column, c.ow - 1);
        }
        RunningSums sums[LANE_CHANNELS] = {};
        float bias[LANE_CHANNELS];
#pragma unroll
        for (int i = 0; i < LANE_CHANNELS; i++) {
          const int channel = channel0 + first_channel + i;
          const bool biased = !Activation::LINEAR && c.bias && channel < c.out;
          bias[i] = biased ? c.bias[channel] / Activation::SCALE : 0.0f;
        }

        walk<TAPS, Activation>(c, line, values, pitch, slices, weights + first_channel, rows, planes, bias, sums);

        const double count = real ? static_cast<double>(rows) * planes : 0.0, per_count = real ? 1.0 / count : 0.0;
#pragma unroll
        for (int i = 0; i < LANE_CHANNELS; i++) {
          Moments<double> own{0.0, 0.0, 0.0};
          if (real) own = sums[i].moments(count, per_count);
          own = warp_reduce(own, Merge{});
          Moments<double>& total = totals[warp * S::CHANNELS + first_channel + i];
          if (lane == 0) total = merge(total, own);
        }
      }
      __syncthreads();  // the box is free again, and the totals are there for all to see
    }
  }
  write_totals<Activation>(c, channel0, n, slot, totals, moments);
}

// Fills moments (n, out, slots) of {mean, m2}: from shared memory when TAPS is the convolution's, else direct.
template <int TAPS, class Activation>
cudaError_t launch_plain(Conv3d c, long long n, double2* moments, cudaStream_t stream) {
  using S = Plain<TAPS>;
  int limit;
  cudaError_t error = shared_memory_per_block(limit);
  if (error != cudaSuccess) return error;
  if (c.taps != TAPS || !fit<S>(c, limit)) return launch_direct<Activation>(c, n, moments, stream);
  if (n * c.slots > MAX_GRID_X) return cudaErrorInvalidConfiguration;
  const int bytes = static_cast<int>(S::shared_bytes(c, c.part_d, c.part_h));
  const auto kernel = plain_moments<TAPS, Activation>;
  error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) return error;
  const dim3 grid(static_cast<unsigned>(n * c.slots), static_cast<unsigned>(ceil_div(c.out, S::CHANNELS)));
  kernel<<<grid, S::THREADS, bytes, stream>>>(c, moments);
  return cudaGetLastError();
}
