"""How long each phase of a trial took."""

from __future__ import annotations

import pytest

from tuner.execution.spans import Spans


def test_phases_come_in_the_order_in_which_they_ended_and_do_not_overlap() -> None:
    spans = Spans()
    with spans.during("load"):
        pass
    with spans.during("verify"):
        pass
    first, second = spans.taken
    assert (first.phase, second.phase) == ("load", "verify")
    assert first.began + first.seconds <= second.began + 1e-3


def test_a_phase_that_fails_counts_all_the_same() -> None:
    spans = Spans()
    with pytest.raises(ValueError, match="no"), spans.during("compile"):
        raise ValueError("no")
    assert [span.phase for span in spans.taken] == ["compile"]
