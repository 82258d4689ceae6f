// What a block of fused_cuda.cu keeps in shared memory, channels last; compiles on a host alone.
#pragma once

#ifndef BLOCK_SIZE
#define BLOCK_SIZE 256  // threads a block
#endif
#ifndef EXCHANGE
#define EXCHANGE_SHARED 0
#define EXCHANGE_REGISTERS 1
#define EXCHANGE EXCHANGE_REGISTERS
#endif
#ifndef EXCHANGE_LANES
#define EXCHANGE_LANES 8  // lanes of a warp along the target's rows
#endif
#ifndef TILE_POSITIONS
#define TILE_POSITIONS 64  // positions and channels that a block turns over at once
#endif
#ifndef TILE_CHANNELS
#define TILE_CHANNELS 64
#endif

// Without vectors a patch is one float: only staged tiles then move whole sectors.
constexpr int lanes(int vector, int rows) {
  return vector == 1 ? 32 : EXCHANGE_LANES * vector <= rows ? EXCHANGE_LANES : rows / vector;
}
constexpr bool staged(int vector) { return vector == 1 || EXCHANGE == EXCHANGE_SHARED; }

// Three floats a thread for the statistics, in turn with a tile, where it is staged, and four constants a channel.
constexpr long long scratch_bytes(int vector) {
  const long long moments = 12LL * BLOCK_SIZE;
  const long long floats = 4LL * ((staged(vector) ? TILE_POSITIONS * TILE_CHANNELS : 0) + 4 * TILE_CHANNELS);
  return ((moments > floats ? moments : floats) + 15) / 16 * 16;
}
