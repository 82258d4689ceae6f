"""Who is in a final, and who is left when none of them holds."""

from __future__ import annotations

from helpers.searching import KNOBS, ONE, took

from tuner.records import Trial
from tuner.search import final
from tuner.search.progress import Budget, Progress
from tuner.space import Choice, Point


def trial(number: int, ms: float, **knobs: Choice) -> Trial:
    values = {knob.name: knob.default for knob in KNOBS} | knobs
    return Trial(
        number=number,
        point=Point("one", tuple(values.items())),
        candidate_sha256="0" * 64,
        evaluation=took(ms),
        finished="2026-01-01T00:00:00+00:00",
    )


def test_the_others_have_every_word_once_the_fastest_first() -> None:
    slow, fast = [trial(n, 9.0 + n, a=a) for n, a in enumerate((1, 2, 4))], trial(4, 1.0, mode="fast")
    off = trial(5, 20.0, off=False)
    progress = Progress(Budget(9), [*slow, fast, off])
    chosen = {str(fast.point): fast}
    assert list(final.others(progress, ONE, chosen).values()) == [slow[0], off]
