// gn_min_bias after a product in float by cuBLAS: one read of it, then the broadcast sum.
#include "group_min.cuh"
