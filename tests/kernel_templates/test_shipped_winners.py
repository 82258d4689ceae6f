"""The winners that are shipped are what the templates render now: else no one's `load` finds them."""

from __future__ import annotations

import pytest

from tuner import store, template
from tuner.template import render

WINNERS = store.entries(store.shipped_cache())


@pytest.mark.parametrize("winner", WINNERS, ids=lambda winner: winner.record.workload.slug)
def test_a_shipped_winner_is_rendered_as_it_was_measured(winner: store.Entry) -> None:
    kernel = template.load(template.shipped_folder() / winner.record.template)
    assert render.candidate(kernel, [store.tuned(winner.record)]).text == winner.text
    assert store.Digests(kernel).of(winner.record) == winner.record.template_digest


def test_there_are_some() -> None:
    assert len(WINNERS) >= 5
