"""Templates for the CPU whose inputs, results or buffers are of several dtypes, each as short as it can be."""

from __future__ import annotations

from pathlib import Path

_PROBLEM = """\
import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
{model}


def get_inputs():
    return [{inputs}]


def get_init_inputs():
    return []
"""
_TEMPLATE = """\
from tuner.space import Knob
from tuner.template import Variant


def axes(init, shapes):
    return {{"n": shapes[0][0]}}


VARIANTS = (Variant(name="{name}", device="cpu", source="{name}.cpp", knobs=(Knob("step", (1, 2), 1),)),)
"""
_SOURCE = """\
#include <cmath>
#ifndef STEP
#define STEP 1
#endif
extern "C" const char* tuner_error(int) {{ return "failed"; }}
extern "C" int {name}({parameters}, void*) {{
  static_assert(STEP > 0, "");
{body}
  return 0;
}}
"""

CROSS_ENTROPY = {
    "model": "    def forward(self, x, targets):\n        return F.cross_entropy(x, targets)",
    "inputs": "torch.randn(32, 10), torch.randint(0, 10, (32,))",
    "host": """\
def cross_entropy(model, kernel, x, targets):
    if x.shape[0] == 0:
        raise RuntimeError("cross_entropy takes no empty batch")
    out = torch.empty((), dtype=x.dtype)
    kernel.launch("cross_entropy", aligned(x), aligned(targets), out, *x.shape)
    return out
""",
    "parameters": "const float* x, const long long* targets, float* out, long long n, long long c",
    "body": """\
  double total = 0.0;
  for (long long i = 0; i < n; i++) {
    const float* row = x + i * c;
    float largest = -INFINITY;
    double sum = 0.0;
    for (long long j = 0; j < c; j++) largest = !(row[j] <= largest) ? row[j] : largest;
    for (long long j = 0; j < c; j++) sum += std::exp(double(row[j]) - largest);
    total += std::log(sum) + largest - row[targets[i]];
  }
  *out = float(total / n);""",
}
MASKED_CUMSUM = {
    "model": "    def forward(self, x, mask):\n        return (x * mask).cumsum(1)",
    "inputs": "torch.rand(16, 24), torch.rand(16, 24) > 0.5",
    "host": """\
def masked_cumsum(model, kernel, x, mask):
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    kernel.launch("masked_cumsum", aligned(x), aligned(mask), out, *x.shape)
    return out
""",
    "parameters": "const float* x, const bool* mask, float* out, long long n, long long c",
    "body": """\
  for (long long i = 0; i < n; i++) {
    double sum = 0.0;
    for (long long j = 0; j < c; j++) out[i * c + j] = float(sum += x[i * c + j] * mask[i * c + j]);
  }""",
}
EMBEDDING = {
    "model": """\
    def __init__(self):
        super().__init__()
        self.layer = nn.Embedding(32, 8)

    def forward(self, x):
        return self.layer(x)""",
    "inputs": "torch.randint(0, 32, (16, 5))",
    "host": """\
def embedding(model, kernel, x):
    weight = model.layer.weight
    out = torch.empty((*x.shape, weight.shape[1]), dtype=weight.dtype)
    kernel.launch("embedding", aligned(x), aligned(weight), out, x.numel(), weight.shape[1])
    return out
""",
    "parameters": "const long long* x, const float* weight, float* out, long long n, long long c",
    "body": """\
  for (long long i = 0; i < n; i++)
    for (long long j = 0; j < c; j++) out[i * c + j] = weight[x[i] * c + j];""",
}
ARGMAX = {
    "model": "    def forward(self, x):\n        return x.argmax(1)",
    "inputs": "torch.rand(16, 24)",
    "host": """\
def argmax(model, kernel, x):
    out = torch.empty(x.shape[0], dtype=torch.int64)
    kernel.launch("argmax", aligned(x), out, *x.shape)
    return out
""",
    "parameters": "const float* x, long long* out, long long n, long long c",
    "body": """\
  for (long long i = 0; i < n; i++) {
    long long at = 0;
    for (long long j = 0; j < c; j++) {
      const float one = x[i * c + j], best = x[i * c + at];
      if (one > best || (std::isnan(one) && !std::isnan(best))) at = j;
    }
    out[i] = at;
  }""",
}
BATCH_NORM = {
    "model": """\
    def __init__(self):
        super().__init__()
        self.layer = nn.BatchNorm1d(8)

    def forward(self, x):
        return self.layer(x)""",
    "inputs": "torch.rand(32, 8)",
    "host": """\
def batch_norm(model, kernel, x):
    layer, out = model.layer, torch.empty_like(x, memory_format=torch.contiguous_format)
    if layer.training:
        if x.shape[0] < 2:
            raise RuntimeError("batch_norm takes more than one value per channel when training")
        layer.num_batches_tracked.add_(1)
    kernel.launch(
        "batch_norm", aligned(x), layer.weight, layer.bias, layer.running_mean, layer.running_var, out, *x.shape,
        layer.eps, layer.momentum, layer.training,
    )
    return out
""",
    "parameters": "const float* x, const float* weight, const float* bias, float* mean, float* var, float* out,"
    " long long n, long long c, double eps, double momentum, bool training",
    "body": """\
  for (long long j = 0; j < c; j++) {
    double m = mean[j], v = var[j];
    if (training) {
      m = v = 0.0;
      for (long long i = 0; i < n; i++) m += x[i * c + j];
      m /= n;
      for (long long i = 0; i < n; i++) v += (x[i * c + j] - m) * (x[i * c + j] - m);
      mean[j] = float((1 - momentum) * mean[j] + momentum * m);
      var[j] = float((1 - momentum) * var[j] + momentum * v / (n - 1));
      v /= n;
    }
    for (long long i = 0; i < n; i++)
      out[i * c + j] = float((x[i * c + j] - m) / std::sqrt(v + eps) * weight[j] + bias[j]);
  }""",
}
KERNELS = {
    "cross_entropy": CROSS_ENTROPY,
    "masked_cumsum": MASKED_CUMSUM,
    "embedding": EMBEDDING,
    "argmax": ARGMAX,
    "batch_norm": BATCH_NORM,
}


def write(folder: Path, name: str, **changed: str) -> Path:
    """The template's folder `folder`/`name`, some of its parts changed."""
    parts = {**KERNELS[name], **changed}
    made = folder / name
    made.mkdir(parents=True)
    (made / "problem.py").write_text(_PROBLEM.format(model=parts["model"], inputs=parts["inputs"]))
    (made / "template.py").write_text(_TEMPLATE.format(name=name))
    (made / f"{name}.py").write_text(f"import torch\n\n\n{parts['host']}")
    source = _SOURCE.format(name=name, parameters=parts["parameters"], body=parts["body"])
    (made / f"{name}.cpp").write_text(source)
    return made
