"""include/products: matrix products of pieces are what fp32 gives, at any shape; convolutions are PyTorch's."""

from __future__ import annotations

import copy
import importlib
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from products import Host

from tuner.backends import toolchain
from tuner.template.shared import shipped_folder

HOST, FEW = Host(), Host(few_rows=True)
ONE_SLICE = {"calls": 1, "slice_k": 16384, "weights": "fresh"}
FP32_ERRORS = 8  # of the result, a right one's at most
KNOBS = [{"calls": calls, "slice_k": slice_k} for calls in (1, 2) for slice_k in (2048, 8192)]
gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


# ---- knobs and pieces: no device needed --------------------------------------------------------------


def space(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(shipped_folder() / "include" / "products")
    return importlib.import_module("space")


def allowed(constraints: Any, facts: dict[str, int], **knobs: Any) -> bool:
    return all(c.allows(SimpleNamespace(**knobs), SimpleNamespace(**facts)) for c in constraints)


LARGE = {"gemm_m": 1024, "gemm_n": 8192, "gemm_k": 8192}


def test_a_default_is_a_valid_point(monkeypatch: pytest.MonkeyPatch) -> None:
    products = space(monkeypatch)
    defaults = {knob.name: knob.default for knob in products.product_knobs("gemm_")}
    assert allowed(products.product_constraints("gemm_"), LARGE, **defaults)


def test_no_point_is_measured_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    constraints = space(monkeypatch).product_constraints("gemm_")
    point = {"gemm_scheme": "fp32", "gemm_calls": 1, "gemm_slice_k": 2048, "gemm_weights": "fresh"}
    assert allowed(constraints, LARGE, **point)
    assert not allowed(constraints, LARGE, **(point | {"gemm_calls": 2}))
    halves = point | {"gemm_scheme": "fp16x3", "gemm_slice_k": 16384}
    assert allowed(constraints, LARGE, **(halves | {"gemm_slice_k": 8192}))
    assert not allowed(constraints, LARGE, **halves)


def test_pieces_are_refused_where_they_cannot_win(monkeypatch: pytest.MonkeyPatch) -> None:
    constraints = space(monkeypatch).product_constraints("gemm_")
    point = {"gemm_scheme": "fp16x3", "gemm_calls": 1, "gemm_slice_k": 8192, "gemm_weights": "checked"}
    assert allowed(constraints, LARGE, **point)
    assert not allowed(constraints, {"gemm_m": 32768, "gemm_n": 32768, "gemm_k": 16}, **point)


def test_pieces_lie_as_their_matrix_does() -> None:
    source = torch.empty(2, 5, 40)
    pieces = HOST.SplitPieces(source, 2, 32, left=True)
    assert (pieces.slices, pieces.width, pieces.padded) == (2, 32, 8)
    assert pieces.columns(0, 2).shape == (4, 8, 64)
    turned = HOST.SplitPieces(source.transpose(1, 2), 3, 16384, left=False)
    assert (turned.slices, turned.width, turned.padded) == (1, 16, 40)
    assert turned.columns(1, 1).shape == (2, 40, 16)
    assert turned.columns(1, 1).stride() == (48 * 40, 1, 40)


@pytest.mark.parametrize("k", [1, 15, 2048, 2049, 8191, 50000])
def test_slices_cover_k_and_are_no_longer_than_asked(k: int) -> None:
    pieces = HOST.SplitPieces(torch.empty(1, 3, k), 2, 2048, left=True)
    assert pieces.width <= 2048
    assert (pieces.slices - 1) * pieces.width < k <= pieces.slices * pieces.width


def test_a_copied_model_starts_without_pieces() -> None:
    cache = HOST.SplitCache()
    cache.kept["gemm"] = None, None
    assert copy.deepcopy(cache).kept == {}


# ---- convolutions on the CPU -------------------------------------------------------------------------

CONVOLUTIONS: list[dict[str, Any]] = [
    {"stride": (1, 1), "padding": (1, 0), "dilation": (1, 2)},
    {"stride": (2, 1), "padding": (0, 1), "dilation": (1, 1), "groups": 2},
    {"stride": (1,), "padding": (2,), "dilation": (2,)},
    {"stride": (1, 2, 1), "padding": (0, 1, 0), "dilation": (1, 1, 1)},
]
TRANSPOSED: list[dict[str, Any]] = [
    {"stride": (1, 1), "padding": (1, 0), "dilation": (1, 2), "output_padding": (0, 0)},
    {"stride": (1, 1), "padding": (0, 1), "dilation": (1, 1), "output_padding": (0, 0), "groups": 2},
    {"stride": (2, 1), "padding": (0, 1), "dilation": (1, 1), "output_padding": (1, 0), "groups": 2},
    {"stride": (1,), "padding": (1,), "dilation": (2,), "output_padding": (0,)},
    {"stride": (2, 2, 2), "padding": (0, 1, 0), "dilation": (1, 1, 1), "output_padding": (1, 1, 0)},
]


def convolved(how: dict[str, Any], device: str, **knobs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The host function's result and PyTorch's own."""
    torch.manual_seed(0)
    spatial, groups = len(how["stride"]), how.get("groups", 1)
    x = torch.randn(2, 4, *(7, 9, 6)[:spatial], device=device)
    transposed = "output_padding" in how
    weight = torch.randn(*((4, 6 // groups) if transposed else (6, 4 // groups)), *(3, 2, 3)[:spatial], device=device)
    own = getattr(F, f"conv{'_transpose' if transposed else ''}{spatial}d")
    return HOST.convolution(x, weight, **how, **knobs), own(x, weight, **how)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("how", [*CONVOLUTIONS, *TRANSPOSED])
def test_a_convolution_is_pytorchs_own(how: dict[str, Any], layout: str) -> None:
    found, wanted = convolved(how, "cpu", layout=layout)
    torch.testing.assert_close(found, wanted)
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(found.dim())
    if last is not None:
        assert found.is_contiguous(memory_format=last if layout == "channels_last" else torch.contiguous_format)


@pytest.mark.parametrize("how", [how for how in TRANSPOSED if set(how["stride"]) == {1}])
def test_a_flipped_weight_does_the_same(how: dict[str, Any]) -> None:
    found, wanted = convolved(how, "cpu", layout="channels_last", form="flipped")
    torch.testing.assert_close(found, wanted)


class Turning:
    """Stands in for a kernel: notes how it is launched, and does what it is to do."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def launch(self, symbol: str, x: torch.Tensor, y: torch.Tensor, *sizes: int) -> None:
        assert symbol == "to_channels_last" and x.is_contiguous()
        self.sizes.append(sizes)
        y.copy_(x)


@pytest.mark.parametrize("how", [CONVOLUTIONS[0], CONVOLUTIONS[2], TRANSPOSED[4]])
def test_an_input_may_be_brought_into_channels_last_memory_by_a_kernel(how: dict[str, Any]) -> None:
    kernel = Turning()
    found, wanted = convolved(how, "cpu", layout="channels_last", kernel=kernel)
    torch.testing.assert_close(found, wanted)
    (sizes,) = kernel.sizes
    assert sizes == (2, 4, math.prod((7, 9, 6)[: len(how["stride"])]))
    convolved(how, "cpu", layout="contiguous", kernel=kernel)
    assert len(kernel.sizes) == 1


# ---- on a CUDA device --------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def _extensions(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path_factory.mktemp("extensions")))
        for name, value in toolchain.environment().items():
            patch.setenv(name, value)
        for host in (HOST, FEW):  # so that small products are made of pieces, too
            patch.setitem(host.names, "SPLIT_LEAST_RESULTS", 0)
        yield


def matrix(rows: int, k: int, seed: int, turned: bool = False, batch: tuple[int, ...] = ()) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.randn(*batch, k, rows, device="cuda").mT if turned else torch.randn(*batch, rows, k, device="cuda")


def needs_sm_90(host: Host) -> Host:
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("needs sm_90a")
    return host


def close_to_exact(found: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    """Within what rounding to float costs a sum of products, each slice of K truncated as tensor cores do."""
    wanted = a.double() @ b.double()
    bound = a.double().abs() @ b.double().abs()
    worst = float(((found.double() - wanted).abs() / (bound + 1e-300)).max())
    assert found.shape == wanted.shape and found.is_contiguous()
    assert worst <= 1e-6 + 2**-24 * min(a.shape[-1], 8192) / 16


class TestOnCuda:
    pytestmark = gpu

    @pytest.mark.parametrize("knobs", KNOBS)
    @pytest.mark.parametrize(
        ("m", "n", "k"), [(1, 1, 1), (3, 5, 7), (129, 257, 2949), (64, 1000, 5000), (77, 64, 20001)]
    )
    @pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
    def test_any_shape(self, m: int, n: int, k: int, turned: tuple[bool, bool], knobs: dict[str, int]) -> None:
        a, b = matrix(m, k, 1, turned[0]), matrix(n, k, 2, not turned[1]).mT
        close_to_exact(HOST.split_matmul(HOST.kernel, a, b, scheme="fp16x3", **knobs), a, b)

    @pytest.mark.parametrize("knobs", KNOBS)
    def test_batches(self, knobs: dict[str, int]) -> None:
        for a, b in (
            (matrix(33, 3000, 1, batch=(3,)), matrix(65, 3000, 2, batch=(3,)).mT),
            (matrix(33, 300, 1, True, (2, 3)), matrix(65, 300, 2, batch=(3,)).mT),
            (matrix(33, 100, 1, batch=(2, 3)), matrix(17, 100, 2).mT),
            (matrix(33, 100, 1), matrix(17, 100, 2, batch=(2,)).mT),
            (matrix(33, 64, 1, batch=(5,))[:, ::2], matrix(17, 128, 2, batch=(5,)).mT[:, ::2]),
        ):
            close_to_exact(HOST.split_matmul(HOST.kernel, a, b, scheme="fp16x3", **knobs), a, b)

    def test_a_view_that_starts_anywhere(self) -> None:
        a, b = matrix(40, 130, 1)[1:, 1:129], matrix(24, 131, 2)[:, 3:].mT
        close_to_exact(HOST.split_matmul(HOST.kernel, a, b, scheme="fp16x3", calls=1, slice_k=8192), a, b)

    @pytest.mark.parametrize("knobs", KNOBS)
    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_rows_that_are_not_finite_are_those_of_fp32(self, value: float, knobs: dict[str, int]) -> None:
        a, b = matrix(130, 3000, 1), matrix(200, 3000, 2)
        a[70, 2900], b[3, 5], b[4] = value, value, 0.0
        found = HOST.split_matmul(HOST.kernel, a, b.t(), scheme="fp16x3", **knobs)
        wanted = a.double() @ b.double().t()
        torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-3, equal_nan=True)

    @pytest.mark.parametrize("calls", [1, 2])
    @pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e15, "rows", "offset", "spread"])
    def test_magnitudes(self, scale: float | str, calls: int) -> None:
        """The largest error over that of fp32 itself, at a size whose fp32 is not cut along K."""
        a, b = torch.rand(2048, 4096, device="cuda"), matrix(4096, 4096, 2) / 64
        if scale == "rows":
            a = -a * 10 ** (1 + 3 * torch.rand(2048, 1, device="cuda"))
        elif scale == "offset":
            a = a + 1e3
        elif scale == "spread":
            a = (3 * torch.randn_like(a)).exp()
        else:
            a = a * float(scale)
        exact, wide = a.double() @ b.double().t(), b.t()
        own = float((a @ wide - exact).abs().max()) + 2**-23 * float(exact.abs().max()) / 2
        found = HOST.split_matmul(HOST.kernel, a, wide, scheme="fp16x3", calls=calls, slice_k=8192)
        assert float((found - exact).abs().max()) <= FP32_ERRORS * max(own, 2**-149)

    @pytest.mark.parametrize("weights", ["checked", "fresh"])
    def test_a_changed_weight_is_honoured(self, weights: str) -> None:
        model = torch.nn.Module()
        x, weight = matrix(64, 3000, 1).view(4, 16, 3000), torch.nn.Parameter(matrix(96, 3000, 2))

        def follows() -> None:
            for _ in range(2):
                found = HOST.split_product(
                    model, HOST.kernel, "gemm", x, weight, scheme="fp16x3", calls=2, slice_k=2048, weights=weights
                )
                close_to_exact(found, x, weight.t())

        with torch.no_grad():
            follows()
            weight[5] *= -1
            follows()
            weight.data[:, 7] = 0
            follows()
            weight.data = matrix(96, 3000, 3, turned=True)
            follows()

    @pytest.mark.parametrize("scheme", ["fp32", "fp16x3", "few_rows"])
    @pytest.mark.parametrize("value", [1.0, math.nan, math.inf])
    def test_parts_times_their_scales_are_the_product(self, value: float, scheme: str) -> None:
        host = needs_sm_90(FEW) if scheme == "few_rows" else HOST
        x, weight = matrix(90, 1000, 1), matrix(1000, 1000, 2)
        x[70, 900], weight[3, 5] = value, value
        found, rows, columns = host.split_parts(None, host.kernel, "gemm", x, weight, scheme=scheme, **ONE_SLICE)
        wanted = x.double() @ weight.double().t()
        product = (found * rows[:, None] * columns).double()
        torch.testing.assert_close(product, wanted, rtol=1e-4, atol=1e-3, equal_nan=True)

    @pytest.mark.parametrize(
        ("m", "n", "k"), [(1, 1, 4), (3, 130, 68), (64, 1000, 5000), (128, 384, 20000), (200, 77, 4100)]
    )
    def test_few_rows(self, m: int, n: int, k: int) -> None:
        host, x, weight = needs_sm_90(FEW), matrix(m, k, 1), matrix(n, k, 2)
        found = host.split_product(None, host.kernel, "gemm", x, weight, scheme="few_rows", **ONE_SLICE)
        wanted, bound = x.double() @ weight.double().t(), x.double().abs() @ weight.double().abs().t()
        assert float(((found.double() - wanted).abs() / bound).max()) <= 1e-6

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30, 1e-42])
    def test_few_rows_of_any_values(self, value: float) -> None:
        host, x, weight = needs_sm_90(FEW), matrix(100, 4096, 1), matrix(300, 4096, 2)
        x[70, 2900], weight[4] = value, 0.0
        if not 1 < value < math.inf:  # a value that towers in both rows leaves neither's small ones
            weight[3, 5] = value
        found = host.split_product(None, host.kernel, "gemm", x, weight, scheme="few_rows", **ONE_SLICE)
        wanted = x.double() @ weight.double().t()
        torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-3, equal_nan=True)

    def test_the_same_bits_twice(self) -> None:
        a, b = matrix(100, 20000, 1), matrix(100, 20000, 2, turned=True).mT
        once, again = (HOST.split_matmul(HOST.kernel, a, b, scheme="fp16x3", calls=1, slice_k=2048) for _ in range(2))
        assert torch.equal(once, again)

    @pytest.mark.parametrize("form", ["torch", "cudnn", "flipped"])
    @pytest.mark.parametrize("how", [*CONVOLUTIONS, *TRANSPOSED])
    def test_convolutions(self, how: dict[str, Any], form: str) -> None:
        if form == "flipped" and set(how["stride"]) != {1}:
            pytest.skip("stride 1 alone")
        if form == "flipped" and "output_padding" not in how:
            pytest.skip("transposed ones alone")
        for layout, kernel in (("contiguous", None), ("channels_last", None), ("channels_last", HOST.kernel)):
            with torch.backends.cudnn.flags(allow_tf32=False):
                found, wanted = convolved(how, "cuda", layout=layout, form=form, benchmark=True, kernel=kernel)
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("channels", [1, 3, 4, 8, 17, 32, 48, 64, 100, 256])
    @pytest.mark.parametrize("positions", [1, 63, 64, 1000, 4100])
    @pytest.mark.parametrize("offset", [0, 1])
    def test_an_input_in_channels_last_memory(self, channels: int, positions: int, offset: int) -> None:
        x = torch.randn(3 * channels * positions + offset, device="cuda")[offset:].view(3, channels, positions)
        y = torch.full((3, positions, channels), math.nan, device="cuda")
        HOST.kernel.launch("to_channels_last", x, y, 3, channels, positions)
        assert torch.equal(y, x.mT)
