// Hardswish, GroupNorm and the mean over the positions, from one read of the convolution's output.
//
// With h = hardswish(y + conv_bias), m[c] the mean of h over channel c of a sample and mu, rstd the statistics of the
// channel's group, the result is
//     out[n][c] = weight[c] * (m[c] - mu) * rstd + bias[c],
// so neither h nor its normalised form is ever stored.
#ifndef BLOCK_SIZE  // threads a block
#define BLOCK_SIZE 256
#endif
#ifndef UNROLL  // vectors that a thread has in flight
#define UNROLL 4
#endif
#ifndef VECTOR_WIDTH  // floats a load
#define VECTOR_WIDTH 4
#endif
#ifndef REDUCTION  // of the block's sums
#define REDUCTION_SHUFFLE 0
#define REDUCTION_SHARED 1
#define REDUCTION REDUCTION_SHUFFLE
#endif
#ifndef BLOCKS_PER_GROUP  // blocks a (sample, group)
#define BLOCKS_PER_GROUP 4
#endif
#ifndef FINISH  // who finishes a sample
#define FINISH_KERNEL 0
#define FINISH_OVERLAP 1
#define FINISH_LAST_BLOCK 2
#define FINISH FINISH_KERNEL
#endif
#ifndef ORDER  // of the blocks over the tensor; backward starts where the convolution's output may still be in L2
#define ORDER_FORWARD 0
#define ORDER_BACKWARD 1
#define ORDER ORDER_FORWARD
#endif
#ifndef MEMORY_FORMAT  // of y
#define MEMORY_FORMAT_CONTIGUOUS 0
#define MEMORY_FORMAT_CHANNELS_LAST 1
#define MEMORY_FORMAT MEMORY_FORMAT_CONTIGUOUS
#endif

#include "families/channel_sums.cuh"

struct BiasThenHardswish {
  float conv_bias;
  __device__ float operator()(float y) const { return activated<Hardswish>(y + conv_bias); }
};

struct HardswishGnMean : ChannelSums {
  const float* conv_bias;  // (c), still to be added to y, or null
  const float* weight;     // (c)
  const float* bias;       // (c)
  float* out;              // (n, c)
  double eps;

  __device__ BiasThenHardswish map(long long channel) const {
    return {conv_bias == nullptr ? 0.0f : __ldg(conv_bias + channel)};
  }
  __device__ double late(long long) const { return 0.0; }

  __device__ void finish(long long sample, double*) const {
    for_each_channel(*this, sample, eps, [&](long long channel, double centred, double rstd) {
      out[sample * c + channel] = static_cast<float>(weight[channel] * centred * rstd + bias[channel]);
    });
  }
};

// slices: pieces that a channel's positions are cut into. partial: room for 2 * n * c * slices doubles.
// arrived: room for n integers when the last block finishes, else null.
extern "C" int channel_sums(const float* y, const float* conv_bias, const float* weight, const float* bias, float* out,
                            void* partial, int* arrived, long long n, long long c, long long s, long long g,
                            long long slices, double eps, void* stream) {
  const ChannelSums sums{y, static_cast<PivotSums*>(partial), arrived, n, c, s, g, slices};
  return launch_channel_sums(HardswishGnMean{sums, conv_bias, weight, bias, out, eps},
                             static_cast<cudaStream_t>(stream));
}
