// Two inputs channels-last and two results that are not, with operands of the row and of the position.
#include "families/turned.cuh"
#include "streams.hpp"

template <bool BY_TILES>
struct Schedule {
  static constexpr int block_size = 128, vector_width = 16 / sizeof(Element), lanes = 8, unroll = 2;
  static constexpr bool staged = BY_TILES, streaming = true;
};

extern "C" int affine(long long by_tiles, const Element* x, const Element* y, const Element* scale,
                      const Element* shift, Element* result, Element* difference, long long samples,
                      long long channels, long long positions, void* stream) {
  const Affine f{{x, y}, {result, difference}, scale, shift};
  return by_tiles ? launch_turned<Schedule<true>>(f, samples, channels, positions, stream)
                  : launch_turned<Schedule<false>>(f, samples, channels, positions, stream);
}

extern "C" int turn_in(const Element* x, Element* y, long long samples, long long channels, long long positions,
                       void* stream) {
  return launch_turn_in<Schedule<false>>(x, y, samples, channels, positions, stream);
}
