"""What every sampler must do. A new sampler is tried here as soon as it is in the registry."""

from __future__ import annotations

import math
import random
import re
from typing import get_args

import pytest
from helpers.searching import KNOBS, ONE, TWO, bowl

from tuner.cli.configs import HELPS
from tuner.search.samplers import SAMPLERS, Sampler
from tuner.settings import Settings
from tuner.space import Branch, Constraint, Facts, Knob, Point, Space

WIDE = tuple(Knob(f"k{i}", tuple(range(20)), 0) for i in range(4))
SPACES = {
    "one variant": ONE,
    "two variants": TWO,
    "one point": Space((Branch("v", (Knob("a", (3,), 3),)),)),
    "no knob": Space((Branch("v", ()),)),
    "variants of one point": Space((Branch("v", (Knob("a", (3,), 3),)), Branch("w", ()))),
    "categories and booleans": Space((Branch("v", KNOBS[2:]),)),
    "one knob": Space((Branch("v", (Knob("a", tuple(range(100)), 7),)),)),
    "one point in a hundred": Space(
        (Branch("v", WIDE[:3], (Constraint("rare", lambda k, f: k.k0 * 7 % 20 == k.k1 == k.k2),)),)
    ),
    "a variant without valid points": Space(
        (Branch("v", KNOBS, (Constraint("never", lambda k, f: False),)), Branch("w", KNOBS))
    ),
}


@pytest.fixture(params=list(SAMPLERS.values()), ids=list(SAMPLERS))
def kind(request: pytest.FixtureRequest) -> type[Sampler]:
    found: type[Sampler] = request.param
    return found


@pytest.fixture(params=list(SPACES.values()), ids=list(SPACES))
def space(request: pytest.FixtureRequest) -> Space:
    found: Space = request.param
    return found


def time_of(point: Point) -> float:
    """Reproducible, different for each point, and a failure for a tenth of them."""
    drawn = random.Random(str(point)).random()
    return math.inf if drawn < 0.1 else drawn


def proposals(sampler: Sampler, count: int, capacity: int = 1, seed: int = 0, failing: bool = False) -> list[Point]:
    """The points that a search of `count` trials measures, in the order proposed; results come in any order."""
    rng = random.Random(seed)
    found: list[Point] = []
    under_way: list[Point] = []
    while len(found) < count:
        while len(under_way) < capacity:
            point = sampler.propose(set(under_way))
            if point is None:
                break
            assert point not in under_way
            under_way.append(point)
            found.append(point)
        if not under_way:
            break
        done = under_way.pop(rng.randrange(len(under_way)))
        sampler.tell(done, math.inf if failing else time_of(done))
    return found


@pytest.mark.parametrize("capacity", [1, 5])
def test_proposals_are_valid_and_new(kind: type[Sampler], space: Space, capacity: int) -> None:
    found = proposals(kind(space, 0), 40, capacity)
    assert found
    assert len(found) == len(set(found))
    assert all(space.has(point) and space.rejected_by(point) is None for point in found)


@pytest.mark.parametrize("capacity", [1, 5])
@pytest.mark.parametrize("failing", [False, True])
def test_an_exhausted_space_ends_the_proposals(kind: type[Sampler], capacity: int, failing: bool) -> None:
    small = Space((Branch("one", KNOBS[:1] + KNOBS[3:]), Branch("two", KNOBS[3:])))
    sampler = kind(small, 0)
    found = proposals(sampler, 1000, capacity, failing=failing)
    assert sorted(map(str, found)) == sorted(map(str, small.points()))
    assert sampler.propose(set()) is None


@pytest.mark.parametrize(
    "name", ["one point", "no knob", "variants of one point", "categories and booleans", "one point in a hundred"]
)
def test_small_spaces_are_proposed_whole(kind: type[Sampler], name: str) -> None:
    found = proposals(kind(SPACES[name], 0), 1000)
    assert sorted(map(str, found)) == sorted(map(str, SPACES[name].points()))


def test_the_same_seed_gives_the_same_proposals(kind: type[Sampler], space: Space) -> None:
    assert proposals(kind(space, 3), 30, 3) == proposals(kind(space, 3), 30, 3)


def test_points_that_only_fail_do_not_end_the_proposals(kind: type[Sampler]) -> None:
    assert len(proposals(kind(TWO, 0), 60, 4, failing=True)) >= 60


def test_points_told_unasked_are_not_proposed(kind: type[Sampler], space: Space) -> None:
    """As those of another search on the same study, or of an earlier run."""
    sampler, told = kind(space, 0), list(space.points())[:20]
    for point in told:
        sampler.tell(point, time_of(point))
    assert not set(told) & set(proposals(sampler, 20))


def test_points_under_way_elsewhere_are_not_proposed(kind: type[Sampler]) -> None:
    elsewhere = set(list(ONE.points())[::2])
    sampler = kind(ONE, 0)
    for _ in range(20):
        point = sampler.propose(elsewhere)
        assert point is not None
        assert point not in elsewhere
        sampler.tell(point, bowl(point).latency_ms)


def test_a_point_given_up_is_proposed_later(kind: type[Sampler]) -> None:
    small = SPACES["categories and booleans"]
    sampler = kind(small, 0)
    given_up = sampler.propose(set())
    assert given_up in proposals(sampler, 1000)


@pytest.mark.parametrize("valid_in", [0, 10_000])
def test_work_is_bounded_where_constraints_reject_almost_all(kind: type[Sampler], valid_in: int) -> None:
    """10^8 points: with no valid one there is no proposal; with one in 10,000 there is."""
    knobs = tuple(Knob(f"k{i}", tuple(range(100)), 50) for i in range(4))
    rare = Constraint(
        "rare", lambda k, f: valid_in > 0 and (k.k0 * 7919 + k.k1 * 104729 + k.k2 * 31 + k.k3) % valid_in == 0
    )
    found = proposals(kind(Space((Branch("v", knobs, (rare,)),), Facts()), 0), 3)
    assert len(found) == (3 if valid_in else 0)


def test_the_settings_and_their_help_offer_every_sampler() -> None:
    assert set(get_args(Settings.model_fields["sampler"].annotation)) == set(SAMPLERS)
    assert set(re.findall(r"\w+", HELPS["sampler"])) - {"or"} == set(SAMPLERS)
