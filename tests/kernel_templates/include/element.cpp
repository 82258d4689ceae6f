// x (count) -> result (count): as an Element and back; bits (count): the Element's own bits.
#include "numerics/element.hpp"

namespace {

template <class T>
void there_and_back(const float* x, float* result, short* bits, long long count) {
  for (long long i = 0; i < count; i++) {
    const T element = from_float<T>(x[i]);
    result[i] = to_float(element);
    std::memcpy(bits + i, &element, sizeof element);
  }
}

}  // namespace

extern "C" int run(const float* x, float* result, short* bits, long long count, bool is_half, void*) {
  (is_half ? there_and_back<half> : there_and_back<bfloat16>)(x, result, bits, count);
  return 0;
}
