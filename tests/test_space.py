"""Knobs, points, constraints and moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.errors import TemplateError
from tuner.space import Branch, Choice, Constraint, Facts, Knob, Point, Space

A, B, KIND = Knob("a", (1, 2, 4), 2), Knob("b", (1, 2, 4, 8), 1), Knob("kind", ("x", "y"), "x")
PRODUCT = Constraint("a*b<=LIMIT", lambda k, f: k.a * k.b <= f.LIMIT)


def space(limit: int = 8) -> Space:
    return Space((Branch("one", (A, B), (PRODUCT,)), Branch("two", (KIND,))), Facts(LIMIT=limit))


def point(a: int, b: int) -> Point:
    return Point("one", (("a", a), ("b", b)))


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("A", (1, 2), 1), "lower-case identifier"),
        (("a-b", (1, 2), 1), "lower-case identifier"),
        (("a", (), 1), "all int, all str or all bool"),
        (("a", (1, "x"), 1), "all int, all str or all bool"),
        (("a", (1, True), 1), "all int, all str or all bool"),
        (("a", (1.5,), 1.5), "all int, all str or all bool"),
        (("a", (1, 1), 1), "listed twice"),
        (("a", (1, 2), 3), "not among its choices"),
        (("a", (0, 1), True), "not among its choices"),
        (("a", (2, 1), 1), "from small to large"),
    ],
)
def test_a_knob_that_contradicts_itself_is_refused(
    arguments: tuple[str, tuple[Choice, ...], Choice], fault: str
) -> None:
    with pytest.raises(TemplateError, match=fault):
        Knob(*arguments)


def test_only_integers_are_ordered() -> None:
    assert A.ordered
    assert not KIND.ordered
    assert not Knob("flag", (False, True), False).ordered


def test_length_counts_points_before_constraints() -> None:
    assert len(space()) == 12 + 2


def test_points_are_the_valid_ones_in_the_order_of_the_choices() -> None:
    found = list(space().points())
    assert found[:4] == [point(1, 1), point(1, 2), point(1, 4), point(1, 8)]
    assert all(space().rejected_by(point) is None for point in found)
    assert len(found) == 4 + 3 + 2 + 2


def test_a_rejected_point_names_the_rule() -> None:
    assert space().rejected_by(point(4, 8)) == "a*b<=LIMIT"


def test_the_default_of_each_branch_comes_first() -> None:
    assert space().defaults == (point(2, 1), Point("two", (("kind", "x"),)))


def test_a_default_that_a_rule_forbids_gives_way_to_the_nearest_point() -> None:
    assert space(limit=1).defaults == (point(1, 1), Point("two", (("kind", "x"),)))


def test_a_branch_without_a_valid_point_has_no_default() -> None:
    assert space(limit=0).defaults == (Point("two", (("kind", "x"),)),)


def test_an_ordered_knob_moves_by_one_step() -> None:
    assert set(space().neighbours(point(2, 1))) == {point(1, 1), point(4, 1), point(2, 2)}


def test_a_category_moves_to_any_other_choice() -> None:
    three = Space((Branch("v", (Knob("kind", ("x", "y", "z"), "x"),)),))
    assert [c.knobs["kind"] for c in three.neighbours(Point("v", (("kind", "y"),)))] == ["x", "z"]


def test_nearest_passes_through_invalid_points() -> None:
    assert space().nearest(point(4, 8), lambda c: True) in (point(4, 2), point(2, 4), point(1, 8))


def test_nearest_goes_to_another_branch_when_its_own_holds_none() -> None:
    assert space().nearest(point(1, 1), lambda c: c.variant == "two") == Point("two", (("kind", "x"),))


def test_nearest_is_none_when_nothing_is_wanted() -> None:
    assert space().nearest(point(1, 1), lambda c: False) is None


HUGE = tuple(Knob(f"k{i}", tuple(range(100)), 50) for i in range(4))


def huge(one_in: int) -> Space:
    """10^8 points of which one in so many is valid; none when that is 0."""
    passes = Constraint(
        "rare", lambda k, f: one_in > 0 and (k.k0 * 7919 + k.k1 * 104729 + k.k2 * 31 + k.k3) % one_in == 0
    )
    return Space((Branch("v", HUGE, (passes,)),))


def test_a_rare_valid_point_is_found_as_a_default() -> None:
    (found,) = huge(10_000).defaults
    assert huge(10_000).rejected_by(found) is None


def test_a_huge_space_without_a_valid_point_costs_bounded_work_and_names_the_constraint() -> None:
    assert huge(0).defaults == ()
    assert huge(0).nearest(huge(0).branches[0].default, lambda point: True) is None
    assert list(huge(0).points(patience=1000)) == []
    assert huge(0).emptiness() == "variant v: constraint 'rare' rejects 1000 of 1000 random points"


@given(st.sampled_from(list(space(64).points())), st.sets(st.sampled_from(list(space().points()))))
def test_nearest_finds_an_unseen_valid_point_whenever_there_is_one(start: Point, seen: set[Point]) -> None:
    found = space().nearest(start, lambda c: c not in seen)
    unseen = set(space().points()) - seen
    assert (found in unseen) if unseen else found is None


@given(st.sampled_from([p for p in space().points() if p.variant == "one"]))
def test_neighbours_are_mutual(point: Point) -> None:
    assert all(point in space().neighbours(other) for other in space().neighbours(point))


def test_a_point_reads_as_one_line() -> None:
    assert str(Point("v", (("a", 4), ("flag", True), ("kind", "x")))) == "v a=4 flag=1 kind=x"


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        (point(1, 8), True),
        (point(4, 8), True),  # though a rule forbids it
        (Point("three", ()), False),
        (Point("one", (("a", 1),)), False),
        (Point("one", (("b", 1), ("a", 1))), False),
        (point(3, 1), False),
        (point(True, 1), False),
    ],
)
def test_a_space_has_the_points_of_its_knobs_and_no_others(asked: Point, there: bool) -> None:
    assert space().has(asked) is there
