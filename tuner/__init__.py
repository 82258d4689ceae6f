"""tuner: autotuning for GPU and CPU kernels written as templates with knobs.

Importing this package loads neither torch nor optuna; `tuner.kernels` loads
torch only when a kernel is first asked for.
"""

__version__ = "0.1.0"
