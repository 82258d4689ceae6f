"""The Gaussian process: what it predicts, and how it divides a search among variants."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from helpers.searching import KNOBS, ONE, TWO, bowl

from tuner.search.samplers import Gaussian
from tuner.search.samplers.gaussian.grid import Grid
from tuner.search.samplers.gaussian.model import Model
from tuner.space import Branch, Knob, Point, Space

SIZES = (Knob("x", (32, 48, 64, 96, 128), 32), Knob("y", (1, 2, 4), 1))
MIXED = Space((Branch("one", (*SIZES, Knob("mode", ("a", "b"), "a"))), Branch("two", (Knob("x", (64, 256), 64),))))


def points(space: Space) -> tuple[list[Point], np.ndarray]:
    """All valid points and their features."""
    grid, found = Grid(space), list(space.points())
    return found, np.concatenate([grid.features(g, g.row(p)[None]) for p in found for g in [grid.grid_of(p)]])


def test_rows_and_points_are_the_same_thing() -> None:
    grid = Grid(MIXED)
    for point in MIXED.points():
        branch = grid.grid_of(point)
        assert branch.point(branch.row(point)) == point


def test_a_knob_that_variants_share_is_one_column() -> None:
    grid = Grid(MIXED)
    (one,), (two,) = (grid.features(b, b.default[None]) for b in grid.branches)
    assert one.tolist() == [0, 0, 0, 0]
    assert two.tolist() == [1, 2, 3, 2]  # 64 is the third size of all; y and mode are absent


def test_sizes_have_two_distances() -> None:
    """By rank, and by how often they can be halved: 48 is near 96 in the latter."""
    by_column = [distances for column, distances in Grid(MIXED).distances if column == 1]
    rank, halvings = by_column
    assert rank[0, 1] == rank[1, 2] == pytest.approx(0.2)
    assert halvings[1, 3] == pytest.approx(0.25)
    assert halvings[1, 2] == pytest.approx(0.5)


def test_powers_of_two_have_one_distance() -> None:
    assert [column for column, _ in Grid(Space((Branch("v", (SIZES[1],)),))).distances] == [1]


def test_a_prediction_is_exact_where_it_was_measured_and_unsure_elsewhere() -> None:
    _, features = points(ONE)
    targets = np.log([bowl(point).latency_ms for point in ONE.points()])
    model = Model(Grid(ONE), np.random.default_rng(0))
    model.learn(features[::2], targets[::2])
    model.condition(features[::2], targets[::2], features[:0])
    mean, deviation = model.predict(features)
    assert np.abs(mean - targets)[::2].max() < 0.15
    assert np.abs(mean - targets)[1::2].mean() < 0.3
    assert deviation[1::2].mean() > deviation[::2].mean()


def test_points_under_way_take_the_doubt_and_leave_the_mean() -> None:
    _, features = points(ONE)
    targets = np.log([bowl(point).latency_ms for point in ONE.points()])
    model = Model(Grid(ONE), np.random.default_rng(0))
    model.condition(features[:20], targets[:20], features[:0])
    mean, deviation = model.predict(features)
    model.condition(features[:20], targets[:20], features[30:35])
    mean_then, deviation_then = model.predict(features)
    assert np.allclose(mean, mean_then)
    assert (deviation_then[30:35] < deviation[30:35]).all()


def run(space: Space, time_of: dict[str, float], count: int) -> Counter[str]:
    """How often each variant was proposed, where a variant's times are the bowl's times a factor."""
    sampler = Gaussian(space, 0)
    for point in space.defaults:
        sampler.tell(point, bowl(point).latency_ms * time_of[point.variant])
    found: Counter[str] = Counter()
    for _ in range(count):
        proposed = sampler.propose(set())
        assert proposed is not None
        found[proposed.variant] += 1
        sampler.tell(proposed, bowl(proposed).latency_ms * time_of[proposed.variant])
    return found


def test_the_best_variant_gets_most_trials_and_none_is_starved() -> None:
    names = ("v", "w", "x", "y")
    space = Space(tuple(Branch(name, KNOBS) for name in names))
    found = run(space, {"v": 3.0, "w": 1.0, "x": 4.0, "y": 2.0}, 80)
    assert found["w"] >= 35
    assert all(found[name] >= 4 for name in names)


def test_a_variant_that_only_fails_does_not_eat_the_budget() -> None:
    assert run(TWO, {"one": math.inf, "two": 1.0}, 50)["one"] <= 20


def test_it_finds_the_least_of_a_bowl_in_a_tenth_of_the_space() -> None:
    sampler = Gaussian(TWO, 0)
    for _ in range(24):
        point = sampler.propose(set())
        assert point is not None
        sampler.tell(point, bowl(point).latency_ms)
    assert min(sampler.told.values()) <= 1.25


# ---- what other searches found ----

SHIFTED = [(point, 7.0 * bowl(point).latency_ms) for point in ONE.points()]  # elsewhere everything takes longer


def regret(sampler: Gaussian, count: int) -> float:
    """The best of so many proposals after the default, as a multiple of the least time."""
    sampler.tell(ONE.branches[0].default, bowl(ONE.branches[0].default).latency_ms)
    for _ in range(count):
        point = sampler.propose(set())
        assert point is not None
        sampler.tell(point, bowl(point).latency_ms)
    return min(sampler.told.values()) / min(bowl(point).latency_ms for point in ONE.points())


def test_a_search_of_the_like_elsewhere_finds_the_best_in_a_few_trials() -> None:
    sampler = Gaussian(ONE, 0)
    sampler.believe([SHIFTED[::2]])
    assert regret(sampler, 4) < 1.05


def test_a_search_that_contradicts_is_soon_disbelieved() -> None:
    sampler = Gaussian(ONE, 0)
    sampler.believe([[(point, 1 / time) for point, time in SHIFTED]])
    assert regret(sampler, 40) < 1.05


def test_points_of_other_searches_are_new_here() -> None:
    sampler = Gaussian(ONE, 0)
    sampler.believe([SHIFTED])
    assert sampler.told == {}
    assert regret(sampler, 4) < 1.05


def test_other_searches_that_only_failed_say_nothing() -> None:
    sampler, other = Gaussian(ONE, 0), Gaussian(ONE, 0)
    sampler.believe([[(point, math.inf) for point, _ in SHIFTED], []])
    assert sampler.propose(set()) == other.propose(set())
