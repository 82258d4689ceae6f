// What a block of group_min.cuh keeps in shared memory; compiles on a host alone.
#pragma once

#ifndef BLOCK_SIZE  // threads a block
#define BLOCK_SIZE 256
#endif
#ifndef LANES  // threads a group
#define LANES 4
#endif
#ifndef ROWS  // rows a block
#define ROWS 8
#endif
#ifndef REDUCTION  // of a row's minimum: each warp by shuffles first, or all threads' values through shared memory
#define REDUCTION_SHUFFLE 0
#define REDUCTION_SHARED 1
#define REDUCTION REDUCTION_SHUFFLE
#endif

constexpr int WARPS = BLOCK_SIZE / 32;
constexpr int GROUPS = BLOCK_SIZE / LANES;  // groups a slice
constexpr int MINIMA = REDUCTION == REDUCTION_SHUFFLE ? WARPS : BLOCK_SIZE;  // values a row ahead of the last step
constexpr long long SHARED_BYTES = 4LL * ROWS * MINIMA;
