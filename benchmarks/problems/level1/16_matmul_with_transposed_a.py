"""Product of two matrices, the first transposed."""

import torch
import torch.nn as nn

m = 2048
k = 8192
n = 4096


class Model(nn.Module):
    """A (k, m), B (k, n) -> (m, n)."""

    def forward(self, A, B):
        return torch.matmul(A.T, B)


def get_inputs():
    return [torch.rand(k, m), torch.rand(k, n)]


def get_init_inputs():
    return []
