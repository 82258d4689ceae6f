// Gangs: blocks of one launch that reduce together what each of them keeps, over and over, without leaving the kernel.
//
// All blocks are resident (a cooperative launch), so that they may wait for each other. A block leaves its state in a
// slot of global memory, says so, and waits for the others of its gang; then each merges all states in the same order.
// Slots are used in turns of two: who leaves its next-but-one state knows that all have read this one.
#pragma once
#include "core/launch.cuh"
#include "core/reduce.cuh"

constexpr int gang_apart = 16;  // words between two gangs' counters: a sector each would do

// Of all gangs of a launch. `arrived` is zero at its start: gang_apart words a gang.
struct Gangs {
  unsigned* arrived;
  char* slots;  // 2 * blocks * slot_bytes
  unsigned blocks, count;  // blocks a gang, and gangs
};

struct GangMember {
  unsigned gang, part, turn;

  __device__ explicit GangMember(const Gangs& all)
      : gang(blockIdx.x / all.blocks), part(blockIdx.x % all.blocks), turn(0) {}
};

// Until all blocks of the gang have called it as often as this one; called by one thread a block.
__device__ __forceinline__ void await_gang(const Gangs& all, const GangMember& me) {
  unsigned* counter = all.arrived + me.gang * gang_apart;
  const unsigned wanted = (me.turn + 1) * all.blocks;
  unsigned seen;
  asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
  do {
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(counter) : "memory");
  } while (static_cast<int>(seen - wanted) < 0);
}

// By one warp of each block of the gang, whose block's state is `value`: all their states in a fixed order.
template <int SLOT_BYTES, class T, class Op>
__device__ T exchanged(const T& value, const T& identity, Op op, const Gangs& all, const GangMember& me) {
  static_assert(sizeof(T) <= SLOT_BYTES && SLOT_BYTES % 4 == 0, "a state fits its slot");
  constexpr int words = sizeof(T) / 4;
  const int lane = threadIdx.x % 32;
  char* slots = all.slots + (me.turn % 2 * static_cast<size_t>(all.count) + me.gang) * all.blocks * SLOT_BYTES;
  if (lane == 0) {
    *reinterpret_cast<T*>(slots + me.part * SLOT_BYTES) = value;
    await_gang(all, me);
  }
  __syncwarp();
  T state = identity;
  for (unsigned part = lane; part < all.blocks; part += 32) {
    const unsigned* from = reinterpret_cast<const unsigned*>(slots + part * SLOT_BYTES);
    unsigned held[words];
#pragma unroll
    for (int w = 0; w < words; w++) held[w] = __ldcg(from + w);  // past this multiprocessor's own cache
    T other;
    memcpy(&other, held, sizeof(T));
    state = op(state, other);
  }
  return warp_reduce(state, op);
}

// `value` of every thread of every block of the gang, in a fixed order; every thread gets the result, and all must call
// it. `scratch`: THREADS / 32 states of shared memory, to be used again at once.
template <int THREADS, int SLOT_BYTES, class T, class Op>
__device__ T gang_reduce(T value, T identity, Op op, T* scratch, const Gangs& all, GangMember& me) {
  constexpr int warps = THREADS / 32;
  const int lane = threadIdx.x % 32;
  value = warp_reduce(value, op);
  if (lane == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x < 32) {
    value = warp_reduce<warps>(scratch[lane % warps], op);
    if (all.blocks > 1) value = exchanged<SLOT_BYTES>(value, identity, op, all, me);
    __syncwarp();
    if (lane == 0) scratch[0] = value;
  }
  __syncthreads();
  value = scratch[0];
  __syncthreads();
  me.turn++;
  return value;
}

// How many blocks of `kernel`, of so many bytes of dynamic shared memory, the device holds at once; 0 where that cannot
// be said.
template <class Kernel>
inline long long resident_blocks(Kernel kernel, int threads, int bytes = 0) {
  int device = 0, multiprocessors = 0, each = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return 0;
  if (cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) return 0;
  if (cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kernel, threads, bytes) != cudaSuccess) return 0;
  return static_cast<long long>(multiprocessors) * each;
}

template <class... Parameters, class... Arguments>
inline cudaError_t launch_together(void (*kernel)(Parameters...), unsigned blocks, unsigned threads, int bytes,
                                   cudaStream_t stream, Arguments... arguments) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeCooperative;
  attribute.val.cooperative = 1;
  cudaLaunchConfig_t launch{};
  launch.gridDim = dim3(blocks), launch.blockDim = dim3(threads), launch.dynamicSmemBytes = bytes;
  launch.stream = stream;
  launch.attrs = &attribute, launch.numAttrs = 1;
  return cudaLaunchKernelEx(&launch, kernel, arguments...);
}
