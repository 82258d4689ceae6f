"""The reference: what the kernel has to compute, in the KernelBench format."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """Softmax over the last dimension."""

    def forward(self, x):
        return torch.softmax(x, dim=-1)


rows, columns = 512, 1000


def get_inputs():
    return [torch.randn(rows, columns)]


def get_init_inputs():
    return []
