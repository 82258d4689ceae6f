// The products of include/ alone, for benchmarks and tests.
#include "products/finish.cuh"
#include "products/split.cuh"
