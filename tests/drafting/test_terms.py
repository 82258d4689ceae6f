"""Terms: equal ones are one object, different ones never."""

from __future__ import annotations

from tuner.drafting.axes import Axis
from tuner.drafting.graph import Ref
from tuner.drafting.terms import Terms

X, SAMPLES, CHANNELS = Ref("x"), Axis("samples", 2), Axis("channels", 3)


def test_equal_reads_are_one() -> None:
    terms = Terms()
    assert terms.read(X, (SAMPLES, CHANNELS)) is terms.read(X, (SAMPLES, CHANNELS))


def test_reads_in_another_order_differ() -> None:
    terms = Terms()
    assert terms.read(X, (SAMPLES, CHANNELS)) is not terms.read(X, (CHANNELS, SAMPLES))


def test_reads_that_pick_along_another_axis_differ() -> None:
    terms = Terms()
    index = terms.read(Ref("index"), (SAMPLES,))
    order = (SAMPLES, CHANNELS)
    assert terms.read(X, order, index, (SAMPLES,)) is not terms.read(X, order, index, (CHANNELS,))


def test_a_position_is_no_read_of_a_tensor() -> None:
    terms = Terms()
    assert terms.position(X, (SAMPLES,)) is not terms.read(X, (SAMPLES,))
