"""H: other layouts, which may be refused but not be wrong."""

from __future__ import annotations

import pytest
import torch
from helpers.suites import Own, judged

from tuner.records import CaseResult
from tuner.verification.cases import Case

Cases = dict[str, Case | CaseResult]


def inputs(case: Case | CaseResult) -> torch.Tensor:
    assert isinstance(case, Case)
    return case.inputs[0]


def test_the_layouts_are_what_they_say(cases: Cases) -> None:
    assert not inputs(cases["H non-contiguous"]).is_contiguous()
    assert inputs(cases["H transposed"]).stride()[0] == 1
    assert inputs(cases["H offset of one element"]).storage_offset() == 1
    assert inputs(cases["H channels-last"]).is_contiguous(memory_format=torch.channels_last_3d)


def test_another_layout_may_not_be_wrong(cases: Cases) -> None:
    def flat(own: Own, x: torch.Tensor) -> torch.Tensor:
        return own(x.as_strided(x.shape, torch.empty(x.shape).stride(), x.storage_offset()))

    assert not judged(cases["H transposed"], flat).ok


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, NotImplementedError])
def test_another_layout_may_be_refused_with_a_clear_error(cases: Cases, kind: type[Exception]) -> None:
    def refuse(own: Own, x: torch.Tensor) -> torch.Tensor:
        if not x.is_contiguous():
            raise kind("takes contiguous tensors only")
        return own(x)

    verdict = judged(cases["H non-contiguous"], refuse)
    assert (verdict.ok, verdict.detail) == (True, "refused: takes contiguous tensors only")


def test_an_error_without_a_word_is_no_refusal(cases: Cases) -> None:
    def refuse(own: Own, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError

    assert not judged(cases["H non-contiguous"], refuse).ok


def test_plain_values_may_not_be_refused(cases: Cases) -> None:
    def refuse(own: Own, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("takes nothing")

    verdict = judged(cases["E constant"], refuse)
    assert (verdict.ok, verdict.detail) == (False, "RuntimeError: takes nothing")
