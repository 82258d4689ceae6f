"""Tensors lent in memory that a device shares: here a dictionary stands for the device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tuner import backends
from tuner.verification import lending, tensor_files
from tuner.verification.lending import Lender, Loan

N = lending.LEAST // 4  # elements of the smallest tensor that is lent


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """What a CPU that shared memory would share."""
    memory: dict[str, torch.Tensor] = {}

    def share(x: torch.Tensor) -> str:
        memory[str(len(memory))] = x
        return str(len(memory) - 1)

    backend = type(backends.of("cpu"))
    monkeypatch.setattr(backend, "lendable", lambda self, size: torch.zeros(size + 5, dtype=torch.uint8))
    monkeypatch.setattr(backend, "share_memory", lambda self, x: share(x))
    monkeypatch.setattr(backend, "copy_of_shared", lambda self, name, size: memory[name][:size].clone())
    return memory


def lent(lender: Lender, x: torch.Tensor) -> Loan:
    loan = lender.lend(x)
    assert loan is not None
    return loan


@pytest.mark.parametrize("way", ["plain", "transposed", "offset", "every other", "expanded"])
def test_a_tensor_is_read_as_it_lies(shared: dict[str, torch.Tensor], tmp_path: Path, way: str) -> None:
    whole = torch.randn(4 * N)
    x = {
        "plain": whole, "transposed": whole.view(4, N).t(), "offset": whole[1:], "every other": whole[::2],
        "expanded": whole.expand(3, -1),
    }[way]  # fmt: skip
    loan = lent(Lender(backends.of("cpu")), x)
    file = tensor_files.lend(x, tmp_path / "x", loan.shared)
    read = tensor_files.read(file, "cpu")
    assert torch.equal(read, x)
    assert (read.stride(), read.storage_offset()) == (x.stride(), x.storage_offset())


def test_what_was_written_over_is_made_good(shared: dict[str, torch.Tensor]) -> None:
    x = torch.randn(N)
    loan = lent(Lender(backends.of("cpu")), x)
    shared[loan.shared].zero_()
    loan.renew(x)
    assert torch.equal(shared[loan.shared][: x.nbytes].view(torch.float32), x)


def test_a_judge_s_own_tensor_is_not_what_is_shared(shared: dict[str, torch.Tensor]) -> None:
    x = torch.ones(N)
    shared[lent(Lender(backends.of("cpu")), x).shared].zero_()
    assert bool(x.all())


def test_memory_is_lent_again(shared: dict[str, torch.Tensor]) -> None:
    lender = Lender(backends.of("cpu"))
    first = lent(lender, torch.zeros(N))
    other = lent(lender, torch.zeros(N))
    lender.take_back(first)
    assert [lent(lender, torch.ones(N + 1)).shared, lent(lender, torch.ones(N)).shared] == [first.shared, "2"]
    assert other.shared == "1"


def test_much_larger_memory_is_not_taken_for_a_small_tensor(shared: dict[str, torch.Tensor]) -> None:
    lender = Lender(backends.of("cpu"))
    lender.take_back(lent(lender, torch.zeros(3 * N)))
    assert lent(lender, torch.zeros(N)).shared == "1"


@pytest.mark.parametrize("why", ["small", "large", "not shared", "no memory"])
def test_the_rest_goes_by_files(shared: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    backend = type(backends.of("cpu"))
    if why == "large":
        monkeypatch.setattr(lending, "is_large", lambda size, backend: True)
    elif why == "not shared":
        monkeypatch.setattr(backend, "share_memory", lambda self, x: "")
    elif why == "no memory":
        monkeypatch.setattr(backend, "lendable", lambda self, size: None)
    x = torch.zeros(N - 1 if why == "small" else N)
    assert Lender(backends.of("cpu")).lend(x) is None
