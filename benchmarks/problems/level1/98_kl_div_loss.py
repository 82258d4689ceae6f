"""Kullback-Leibler divergence of two sets of distributions."""

import torch
import torch.nn as nn
import torch.nn.functional as F

batch_size = 16384
length = 16384


class Model(nn.Module):
    """predictions (N, length), targets (N, length) -> ()."""

    def forward(self, predictions, targets):
        return F.kl_div(torch.log(predictions), targets, reduction="batchmean")


def get_inputs():
    scale = torch.rand(())
    return [
        (torch.rand(batch_size, length) * scale).softmax(dim=-1),
        torch.rand(batch_size, length).softmax(dim=-1),
    ]


def get_init_inputs():
    return []
