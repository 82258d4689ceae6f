// run(x, staged, direct): x (64, 32) transposed by both ways, the tile's last row and column groups missing.
#include "core/launch.cuh"
#include "core/transpose.cuh"

template <bool STAGED>
__global__ void turn(const float* x, float* out) {
  using Tile = Transpose<4, 128, 64, 32, 8, STAGED, true, false>;
  alignas(16) __shared__ float scratch[Tile::SCRATCH + 1];
  Tile::move(x, 32, out, 64, 60, 28, scratch, [](auto&, int) {});
}

extern "C" int run(const float* x, float* staged, float* direct, void* stream) {
  turn<true><<<1, 128, 0, static_cast<cudaStream_t>(stream)>>>(x, staged);
  turn<false><<<1, 128, 0, static_cast<cudaStream_t>(stream)>>>(x, direct);
  return cudaGetLastError();
}
