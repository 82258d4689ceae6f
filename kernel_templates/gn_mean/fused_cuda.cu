// GroupNorm and the mean over all but the batch, from one read of the convolution's output.
//
// With m[c] the mean of channel c of a sample and mu, rstd the statistics of its group, the result is
//     out[n] = mean over c of ( weight[c] * (m[c] - mu) * rstd + bias[c] ),
// so the normalised tensor is never needed. A bias of the convolution moves m[c] and nothing else.
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
#define BLOCKS_PER_GROUP 3
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

struct GnMean : ChannelSums {
  const float* conv_bias;  // (c), still to be added to y, or null
  const float* weight;     // (c)
  const float* bias;       // (c)
  float* out;              // (n)
  double eps;

  __device__ Identity map(long long) const { return {}; }
  __device__ double late(long long channel) const { return conv_bias == nullptr ? 0.0 : conv_bias[channel]; }

  __device__ void finish(long long sample, double* scratch) const {
    double total = 0.0;
    for_each_channel(*this, sample, eps, [&](long long channel, double centred, double rstd) {
      total += weight[channel] * centred * rstd + bias[channel];
    });
    total = block_reduce<BLOCK_SIZE, REDUCE>(total, Sum{}, scratch);
    if (threadIdx.x == 0) out[sample] = static_cast<float>(total / c);
  }
};

// slices: pieces that a channel's positions are cut into. partial: room for 2 * n * c * slices doubles.
// arrived: room for n integers when the last block finishes, else null.
extern "C" int channel_sums(const float* y, const float* conv_bias, const float* weight, const float* bias, float* out,
                            void* partial, int* arrived, long long n, long long c, long long s, long long g,
                            long long slices, double eps, void* stream) {
  const ChannelSums sums{y, static_cast<PivotSums*>(partial), arrived, n, c, s, g, slices};
  return launch_channel_sums(GnMean{sums, conv_bias, weight, bias, out, eps}, static_cast<cudaStream_t>(stream));
}
