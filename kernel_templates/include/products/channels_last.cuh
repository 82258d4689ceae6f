// x (samples, channels, positions) in channels-last memory, (samples, positions, channels): what cuDNN's fastest
// convolutions read. A block turns a tile in shared memory; elements are moved as they are, 16 bytes at a time where
// sizes and addresses allow that.
#pragma once
#include <cstdint>
#include <type_traits>

#include "core/launch.cuh"
#include "numerics/element.hpp"

namespace channels_last {

using Bits = std::conditional_t<sizeof(TUNER_DTYPE) == 4, unsigned, unsigned short>;
constexpr int wide = 16 / sizeof(Bits);  // elements of a vector
constexpr int threads = 256, tile_elements = 4096;

struct alignas(16) Wide {
  Bits at[wide];
};

// CHANNELS: of a tile, a power of two; so many positions that it has tile_elements.
template <int CHANNELS>
__global__ void __launch_bounds__(threads) turn(const Bits* x, Bits* out, int channels, int positions, int channel_tiles,
                                                int position_tiles, bool reads_wide, bool writes_wide) {
  constexpr int along = tile_elements / CHANNELS;
  __shared__ Bits tile[CHANNELS][along + 4 / sizeof(Bits)];  // a row begins in another bank than the one before it
  const int channel0 = blockIdx.x % channel_tiles * CHANNELS;
  const int position0 = blockIdx.x / channel_tiles % position_tiles * along;
  const long long sample = blockIdx.x / channel_tiles / position_tiles;
  x += sample * channels * positions;
  out += sample * channels * positions;
  if (reads_wide) {
#pragma unroll
    for (int i = threadIdx.x; i < tile_elements / wide; i += threads) {
      const int c = i / (along / wide), p = i % (along / wide) * wide;
      if (channel0 + c >= channels || position0 + p >= positions) continue;
      const long long from = static_cast<long long>(channel0 + c) * positions + position0 + p;
      const Wide v = *reinterpret_cast<const Wide*>(x + from);
#pragma unroll
      for (int k = 0; k < wide; k++) tile[c][p + k] = v.at[k];
    }
  } else {
#pragma unroll 4
    for (int i = threadIdx.x; i < tile_elements; i += threads) {
      const int c = i / along, p = i % along;
      if (channel0 + c >= channels || position0 + p >= positions) continue;
      tile[c][p] = x[static_cast<long long>(channel0 + c) * positions + position0 + p];
    }
  }
  __syncthreads();
  if (writes_wide && CHANNELS >= wide) {
#pragma unroll
    for (int i = threadIdx.x; i < tile_elements / wide; i += threads) {
      constexpr int vectors = CHANNELS >= wide ? CHANNELS / wide : 1;
      const int p = i / vectors, c = i % vectors * wide;
      if (channel0 + c >= channels || position0 + p >= positions) continue;
      Wide v;
#pragma unroll
      for (int k = 0; k < wide; k++) v.at[k] = tile[c + k][p];
      *reinterpret_cast<Wide*>(out + static_cast<long long>(position0 + p) * channels + channel0 + c) = v;
    }
  } else {
#pragma unroll 4
    for (int i = threadIdx.x; i < tile_elements; i += threads) {
      const int p = i / CHANNELS, c = i % CHANNELS;
      if (channel0 + c >= channels || position0 + p >= positions) continue;
      out[static_cast<long long>(position0 + p) * channels + channel0 + c] = tile[c][p];
    }
  }
}

inline bool is_wide(const void* p, long long side) {
  return side % wide == 0 && reinterpret_cast<std::uintptr_t>(p) % 16 == 0;
}

template <int CHANNELS>
int launch(const Bits* x, Bits* out, long long samples, long long channels, long long positions, cudaStream_t stream) {
  const long long channel_tiles = ceil_div(channels, CHANNELS);
  const long long position_tiles = ceil_div(positions, tile_elements / CHANNELS);
  const long long blocks = samples * channel_tiles * position_tiles;
  if (blocks > MAX_GRID_X || channels > INT_MAX || positions > INT_MAX) return cudaErrorInvalidConfiguration;
  if (blocks == 0) return cudaSuccess;
  turn<CHANNELS><<<static_cast<unsigned>(blocks), threads, 0, stream>>>(
      x, out, static_cast<int>(channels), static_cast<int>(positions), static_cast<int>(channel_tiles),
      static_cast<int>(position_tiles), is_wide(x, positions), is_wide(out, channels));
  return cudaGetLastError();
}

}  // namespace channels_last

extern "C" int to_channels_last(const TUNER_DTYPE* x, TUNER_DTYPE* out, long long samples, long long channels,
                                long long positions, void* stream) {
  const auto* from = reinterpret_cast<const channels_last::Bits*>(x);
  auto* to = reinterpret_cast<channels_last::Bits*>(out);
  const auto on = static_cast<cudaStream_t>(stream);
  if (channels <= 4) return channels_last::launch<4>(from, to, samples, channels, positions, on);
  if (channels <= 16) return channels_last::launch<16>(from, to, samples, channels, positions, on);
  if (channels <= 32) return channels_last::launch<32>(from, to, samples, channels, positions, on);
  return channels_last::launch<64>(from, to, samples, channels, positions, on);
}
