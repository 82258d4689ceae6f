"""Operators of every kind: each graph is computed beside the model, and nothing of it is left to PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tuner.drafting.graph import Graph, Library

IMAGES, VOLUMES = "torch.randn(4, 6, 12, 10)", "torch.randn(2, 4, 6, 8, 6)"

MAPS = [
    "torch.relu(x) + F.leaky_relu(x, 0.2) * F.elu(x, 0.7) - F.selu(x) / (2 + F.celu(x, 1.5).abs())",
    "F.gelu(x) + F.gelu(x, approximate='tanh') + F.silu(x) * F.mish(x) + F.logsigmoid(x) + F.softplus(x, 2.0, 3.0)",
    "F.hardswish(x) + F.hardsigmoid(x) + F.hardtanh(x, -0.5, 0.25) + F.relu6(x) + F.softsign(x) + F.tanhshrink(x)",
    "F.threshold(x, 0.1, 20.0) + F.hardshrink(x, 0.3) + F.softshrink(x, 0.3) + F.glu(x.abs(), 1).sum()",
    "torch.exp(x) + torch.log1p(x.abs()) + torch.sqrt(x * x + 1) + torch.rsqrt(x.abs() + 1) + torch.erf(x) + x.atan()",
    "x ** 2 + x.abs() ** 0.5 + (x.abs() + 1) ** -1 + x ** 3 + x.abs() ** 1.7 + 2 ** x + torch.pow(x.abs(), x)",
    "0.5 * x * (1.0 + torch.tanh((2 / 3.14159) ** 0.5 * (x + 0.044715 * torch.pow(x, 3.0))))",
    "torch.clamp(x, min=0) + torch.clamp(x, max=0.3) + torch.clamp(x, -0.1, 0.2) + x.clamp_min(0.1)",
    "torch.min(x, torch.tensor(0.2, device=x.device)) + torch.max(x, x * 2) + torch.minimum(x, -x)",
    "torch.where(x > 0, x, 2 * x) + torch.where((x < 0.5) & ~(x < -0.5), 1.0, x) + (x == x).float()",
    "torch.remainder(x, 0.3) + torch.fmod(x, 0.3) + x.floor() + torch.round(x) + torch.trunc(x) + x // 0.2",
    "torch.addcmul(x, x, x, value=0.5) + torch.lerp(x, x * x, 0.3) + torch.rsub(x, 1, alpha=2) + x.add(x, alpha=3)",
    "x.double().float() + (x * 10).to(torch.int32) + x.bool() + torch.zeros_like(x) + torch.ones(8)",
    "x.masked_fill(torch.triu(torch.ones(16, 8, dtype=torch.bool), diagonal=1), -1.5) * torch.arange(8)",
    "F.dropout(x, 0.3, training=False) + F.dropout(x, 0.0) + x.clone().detach().contiguous() + x.mul(torch.tensor(2))",
]

REDUCTIONS = [
    "torch.sum(x, dim=1, keepdim=True) + torch.mean(x, dim=(0, 1)) + x.sum() + x.mean()",
    "torch.max(x, dim=1)[0] + torch.min(x, dim=1, keepdim=True)[0].squeeze(1) + x.amax(1) + x.amin(-1) + x.max()",
    "torch.argmax(x, dim=1).float() + torch.argmin(x, dim=1) + torch.argmax(x)",
    "torch.max(x, dim=1)[1] + torch.min(x, dim=1)[0]",
    "torch.prod(x, dim=1) + (x > 3).any(dim=1) + torch.all(x > 0, dim=1) + (x > 0).sum(dim=1)",
    "torch.logsumexp(x, dim=1, keepdim=True) + torch.softmax(x, 1) + F.log_softmax(x, -1) + F.softmin(x, 1)",
    "torch.var(x, dim=1, keepdim=True) + x.std(dim=1, unbiased=False, keepdim=True) + x.std()",
    "x / torch.norm(x, p=2, dim=1, keepdim=True) + x / torch.norm(x, p='fro') + x / torch.mean(torch.abs(x), 1, True)",
    "torch.norm(x, p=1, dim=1) + torch.norm(x, float('inf'), 1) + F.normalize(x).sum(1)",
    "torch.linalg.vector_norm(x, 3.0, 1) + torch.linalg.vector_norm(x, 0, 1)",
    "x / torch.sqrt(torch.mean(x ** 2, dim=1, keepdim=True) + 1e-5)",
]

LOSSES = [
    "F.mse_loss(x, y) + F.l1_loss(x, y, reduction='sum')",
    "F.smooth_l1_loss(x, y, beta=0.3) + F.huber_loss(x, y, delta=0.4)",
    "F.kl_div(torch.log_softmax(x, 1), torch.softmax(y, 1), reduction='batchmean')",
    "F.kl_div(torch.log_softmax(x, 1), torch.log_softmax(y, 1), reduction='sum', log_target=True)",
    "F.kl_div(x, y.abs(), reduction='sum') / 3",
    "F.binary_cross_entropy(torch.sigmoid(x), torch.sigmoid(y))",
    "F.binary_cross_entropy_with_logits(x, torch.sigmoid(y))",
    "torch.mean(torch.clamp(1 - x * y, min=0)) + F.hinge_embedding_loss(x, torch.sign(y)) + F.soft_margin_loss(x, y)",
    "torch.mean(1 - F.cosine_similarity(x, y, dim=1))",
    "F.triplet_margin_loss(x, y, x * y, margin=1.0)",
    "F.cross_entropy(x, torch.softmax(y, 1))",
    "torch.mean(x) * F.margin_ranking_loss(x, y, torch.sign(y))",
]

VIEWS = [
    "x.view(2, 8, 8).permute(2, 0, 1).reshape(8, -1) + x.T.contiguous().view(8, 16)",
    "x.unsqueeze(1).expand(16, 3, 8).sum(1) + x[:, 2:3] + x[3] + x[-2:, ::2].sum() + torch.narrow(x, 1, 0, 1)",
    "x.chunk(2, dim=1)[1] + x.split([4, 4], dim=1)[0] + torch.stack(x.unbind(1)[:4], 1).detach() * 0",
    "torch.gather(x, 1, torch.argmax(x, 1, keepdim=True)) + x.flatten().unflatten(0, (16, 8)).transpose(0, 1).mT",
]

MODULES = [
    ("nn.BatchNorm2d(6)", "F.relu(self.layer(x))", IMAGES),
    ("nn.BatchNorm2d(6).eval()", "self.layer(x)", IMAGES),
    ("nn.BatchNorm2d(6, affine=False, track_running_stats=False)", "self.layer(x)", IMAGES),
    ("nn.BatchNorm1d(8)", "self.layer(x) * 2", "torch.randn(16, 8)"),
    ("nn.GroupNorm(3, 6)", "self.layer(x) + x", IMAGES),
    ("nn.GroupNorm(2, 8)", "self.layer(x)", "torch.randn(16, 8)"),
    ("nn.InstanceNorm2d(6, affine=True)", "self.layer(x)", IMAGES),
    ("nn.InstanceNorm2d(8)", "self.layer(x.unsqueeze(1).unsqueeze(1)).squeeze(1).squeeze(1)", "torch.randn(16, 8)"),
    ("nn.LayerNorm((12, 10))", "self.layer(x)", IMAGES),
    ("nn.RMSNorm(8)", "self.layer(x)", "torch.randn(16, 8)"),
    ("nn.PReLU()", "self.layer(x)", IMAGES),
    ("nn.Conv2d(6, 5, (3, 2), stride=2, padding=(1, 0), dilation=2)", "self.layer(x)", IMAGES),
    ("nn.Conv2d(6, 6, 3, groups=6, bias=False, padding='same')", "self.layer(x)", IMAGES),
    ("nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1)", "self.layer(x)", IMAGES),
    ("nn.Conv1d(6, 4, 3)", "self.layer(x[:, :, :, 0])", IMAGES),
    ("nn.ConvTranspose3d(4, 6, 2, stride=2, groups=2)", "self.layer(x)", VOLUMES),
    ("nn.Conv3d(4, 6, 3)", "torch.softmax(torch.min(self.layer(x), dim=2)[0], dim=1)", VOLUMES),
    ("nn.Linear(8, 5, bias=False)", "self.layer(x) + torch.matmul(x, self.layer.weight.T) / 2", "torch.randn(16, 8)"),
    ("nn.Linear(8, 8)", "torch.addmm(self.layer.bias, x, self.layer.weight, beta=0.5, alpha=2)", "torch.randn(16, 8)"),
    (
        "nn.Linear(8, 8)",
        "torch.bmm(x, x.mT) + torch.einsum('bij,kj->bik', x, self.layer.weight)",
        "torch.randn(2, 8, 8)",
    ),
    ("nn.Linear(8, 8)", "torch.triu(torch.mm(x, x)) + torch.diag(x[0]) @ x + torch.mv(x, x[0])", "torch.randn(8, 8)"),
    ("nn.MaxPool2d(3, stride=2, padding=1, dilation=2)", "self.layer(x)", IMAGES),
    ("nn.MaxPool2d(3, stride=2, ceil_mode=True)", "self.layer(x)", "torch.randn(2, 3, 12, 12)"),
    ("nn.MaxPool3d(2)", "F.max_pool3d(self.layer(x), 2, 1)", VOLUMES),
    ("nn.AvgPool2d(3, stride=2, padding=1)", "self.layer(x)", IMAGES),
    ("nn.AvgPool2d(3, padding=1, count_include_pad=False)", "self.layer(x)", IMAGES),
    ("nn.AvgPool3d(2, divisor_override=3)", "self.layer(x)", VOLUMES),
    ("nn.AvgPool1d(4)", "self.layer(x.unsqueeze(1)).squeeze(1).max(dim=1)[0]", "torch.randn(16, 8)"),
    ("nn.MaxPool1d(2)", "torch.sum(self.layer(x.unsqueeze(1)).squeeze(1), dim=1)", "torch.randn(16, 8)"),
    (
        "nn.AdaptiveAvgPool2d((1, 1))",
        "self.layer(x).view(x.size(0), -1) + F.adaptive_max_pool2d(x, 1).flatten(1)",
        IMAGES,
    ),
    ("nn.Sequential(nn.Conv2d(6, 4, 3), nn.ReLU(), nn.MaxPool2d(2))", "self.layer(x)", IMAGES),
]

SCANS = [
    "torch.cumsum(x, dim=1) + torch.cumprod(x, dim=0)",
    "torch.cumsum(x.flip(1), dim=1).flip(1)",
    "torch.cumsum(x * (x > 0), dim=-1)",
]


def left_to_pytorch(graph: Graph) -> list[str]:
    return [node.operator for node in graph.nodes if isinstance(node, Library)]


@pytest.mark.parametrize("forward", [*MAPS, *REDUCTIONS, *SCANS])
def test_operators_of_a_matrix(forward: str, traced: Callable[..., Graph]) -> None:
    graph = traced(f"return {forward}", inputs="torch.randn(16, 8)")
    assert left_to_pytorch(graph) == []


@pytest.mark.parametrize("forward", VIEWS)
def test_views_of_a_matrix(forward: str, traced: Callable[..., Graph]) -> None:
    graph = traced(f"return {forward}", inputs="torch.randn(16, 8)")
    assert set(left_to_pytorch(graph)) <= {"stack.default"}


@pytest.mark.parametrize("forward", LOSSES)
def test_losses(forward: str, traced: Callable[..., Graph]) -> None:
    graph = traced(f"return {forward}", inputs="torch.randn(16, 8), torch.randn(16, 8)", arguments="x, y")
    assert left_to_pytorch(graph) == []


@pytest.mark.parametrize(("layer", "forward", "inputs"), MODULES)
def test_modules(layer: str, forward: str, inputs: str, traced: Callable[..., Graph]) -> None:
    graph = traced(f"return {forward}", layer=layer, inputs=inputs)
    assert left_to_pytorch(graph) == []


@pytest.mark.parametrize(
    ("forward", "left"),
    [
        ("torch.fft.fft(x).abs() * 2", ["fft_fft.default", "abs.default"]),
        (
            "torch.fft.irfft(torch.fft.rfft(x * 2) * 0.5).relu()",
            ["fft_rfft.default", "mul.Tensor", "fft_irfft.default"],
        ),
        ("torch.complex(x, x * x).angle().tanh()", ["complex.default", "angle.default"]),
    ],
)
def test_complex_numbers_are_left_to_pytorch(forward: str, left: list[str], traced: Callable[..., Graph]) -> None:
    graph = traced(f"return {forward}", inputs="torch.randn(16, 8)")
    assert left_to_pytorch(graph) == left


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_cross_entropy_of_classes(reduction: str, traced: Callable[..., Graph]) -> None:
    graph = traced(
        f"return F.cross_entropy(x, y, reduction='{reduction}', ignore_index=1)",
        inputs="torch.randn(16, 8), torch.randint(8, (16,))",
        arguments="x, y",
    )
    assert left_to_pytorch(graph) == []
