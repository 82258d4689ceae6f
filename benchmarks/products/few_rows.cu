// The products of include/ alone, for benchmarks and tests; for sm_90a.
#include "products/few_rows.cuh"
#include "products/finish.cuh"
