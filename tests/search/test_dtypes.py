"""Inputs of different dtypes, from the config to the imported winner."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import own_kernels
from helpers.injected import inside

from tuner import kernels, store, template
from tuner.api import tune
from tuner.errors import ConfigError

INPUTS = {
    "cross_entropy": (torch.randn(5, 10), torch.randint(0, 10, (5,))),
    "masked_cumsum": (torch.rand(3, 7), torch.rand(3, 7) > 0.5),
}
REFERENCES = {
    "cross_entropy": torch.nn.functional.cross_entropy,
    "masked_cumsum": lambda x, mask: (x * mask).cumsum(1),
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("name", INPUTS)
def test_a_kernel_is_searched_exported_and_imported(project: Path, needs_compiler: None, name: str) -> None:
    folder = own_kernels.write(project / "kernels", name)
    with inside(project):
        result = tune(folder, trials=1, device="cpu", final_budget_s=0.5, baselines="eager")
        assert result.best is not None and result.best.confirmed
        dtypes = result.best.workload.dtypes
        (entry,) = store.entries(project / "cache")
        assert f"-{'_'.join(dtypes)}-" in entry.folder.name and store.record_key(entry.record).dtype == ", ".join(
            dtypes
        )
        assert store.load_checked(entry, template.load(folder)) == entry.text
        exported = result.export(project / "submission.py", force=True)  # verified in a fresh process
        assert f"dtypes=(torch.{dtypes[0]}, torch.{dtypes[1]},)" in exported.read_text()
        assert torch.allclose(kernels.load(name, device="cpu")()(*INPUTS[name]), REFERENCES[name](*INPUTS[name]))


@pytest.mark.parametrize(
    ("name", "changed", "says"),
    [
        (
            "cross_entropy",
            {"inputs": "torch.randn(32, 10).double(), torch.randint(0, 10, (32,))"},
            "template cross_entropy: no variant takes inputs of float64, int64: cross_entropy takes float32",
        ),
        (
            "embedding",
            {"model": own_kernels.EMBEDDING["model"].replace("(32, 8)", "(32, 8, dtype=torch.float64)")},
            "parameter layer.weight is of float64; kernels take parameters of float32 beside inputs of int64",
        ),
    ],
)
def test_dtypes_that_no_kernel_takes_are_one_line_before_the_search(
    project: Path, needs_compiler: None, name: str, changed: dict[str, str], says: str
) -> None:
    folder = own_kernels.write(project / "kernels", name, **changed)
    with inside(project), pytest.raises(ConfigError, match=says):
        tune(folder, trials=1, device="cpu")
    assert not list((project / "cache").glob("cpu*"))
