"""Softmax of rows, tuned by Kernel Tuner (`pip install kernel-tuner`), to set beside examples/softmax.py."""

from pathlib import Path

import numpy as np
from kernel_tuner import tune_kernel

rows, columns = 512, 1000
x = np.random.randn(rows, columns).astype(np.float32)
out = np.zeros_like(x)
exact = np.exp(x - x.max(1, keepdims=True))
exact /= exact.sum(1, keepdims=True)
results, environment = tune_kernel(
    "softmax",
    str(Path(__file__).with_name("softmax_kernel_tuner.cpp")),
    problem_size=rows,
    arguments=[x, out, np.int32(rows), np.int32(columns)],
    tune_params={"GRAIN": [1, 4, 16], "THREADS": [1, 2]},
    answer=[None, exact, None, None],
    lang="C",
    compiler="g++",
    compiler_options=["-O3", "-march=native", "-pthread", "-std=c++17"],
)
best = min(results, key=lambda each: each["time"])
print({name: best[name] for name in ("GRAIN", "THREADS")}, best["time"])
