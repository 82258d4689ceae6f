"""Softmax of rows, tuned from one file: `python examples/softmax.py`."""

from pathlib import Path

import torch

import tuner

ON_GPU = torch.cuda.is_available()
softmax = tuner.kernel(
    source=Path(__file__).with_name("softmax.cu" if ON_GPU else "softmax.cpp"),
    symbol="softmax",
    reference=lambda x: x.softmax(1),
    inputs=lambda n, c: [torch.randn(n, c)],
    outputs=lambda x: torch.empty_like(x),
    arguments=lambda x, out: (x, out, *x.shape),
    knobs={"block_size": [64, 128, 256, 512], "unroll": [1, 2, 4]}
    if ON_GPU
    else {"grain": [1, 4, 16], "threads": [1, 2]},
)
result = softmax.tune(shapes=[(512, 1000)], seconds=30)
x = torch.randn(100, 1000, device="cuda" if ON_GPU else "cpu")
print(result.best.point, "agrees" if torch.allclose(softmax(x), x.softmax(1)) else "differs")
