// The products of include/ alone, and what a convolution's input is turned by, for benchmarks and tests.
#include "products/channels_last.cuh"
#include "products/finish.cuh"
#include "products/split.cuh"
