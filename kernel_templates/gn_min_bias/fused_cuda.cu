// gn_min_bias after a product by cuBLAS: GroupNorm and minimum from one read of it, then the broadcast sum.
#include "group_min.cuh"

struct Product {
  static constexpr bool SCALED = false;
  const float* y;  // (rows, width)
  long long width;

  template <int V>
  __device__ __forceinline__ Vector<V> read(long long row, long long channel) const {
    return load_once<V>(y + row * width + channel);
  }
  __device__ float row_scale(long long) const { return 1.0f; }
};

// y (n, c); linear_bias (c), still to be added to y, or null; weight and bias (c); minima (slices, n).
extern "C" int group_min(const float* y, const float* linear_bias, const float* weight, const float* bias,
                         float* minima, long long n, long long c, long long g, double eps, void* stream) {
  const Norm norm{linear_bias, weight, bias, minima, n, g, c / g, 0, static_cast<float>(eps)};
  return launch_group_min(Product{y, c}, c % VECTOR_WIDTH == 0, norm, static_cast<cudaStream_t>(stream));
}
