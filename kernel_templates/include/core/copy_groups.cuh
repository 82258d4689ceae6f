// Groups of the copies in async_copy.cuh, where a later one is under way while an earlier one is read (sm_80 and later).
#pragma once

// Ends a group: the copies of this thread since the last one.
__device__ __forceinline__ void end_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Until all of this thread's groups but the last LEFT have arrived.
template <int LEFT>
__device__ __forceinline__ void wait_groups() {
  asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}
