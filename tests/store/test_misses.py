"""A miss names the fields that differ, and moves nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.cache import DAMAGES, Damage, edit, files_of, newer, only, without_case
from helpers.tiny import MakeRecord, Put, changed

from tuner import store
from tuner.records import Record, TensorSpec
from tuner.template import Template, render

Explain = Callable[..., list[str]]


@pytest.fixture
def explain(root: Path, tiny: Template) -> Explain:
    """Reasons that `why` gives for a record's workload on its device, changed."""

    def explain(record: Record, problem_sha256: str = "0" * 64, **environment: Any) -> list[str]:
        here = changed(record.environment, **environment)
        return [answer.reason for answer in store.why(root, tiny, record.workload, here, problem_sha256)]

    return explain


def test_why_has_nothing_to_say_of_a_hit(root: Path, put: Put, explain: Explain) -> None:
    assert explain(put(root)) == [""]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"driver": "580.1"}, "driver: cached none, here 580.1"),
        ({"toolkit": "gcc 13.1.0"}, "toolkit: cached gcc 12.2.0, here gcc 13.1.0"),
        ({"torch": "2.10.0"}, "torch: cached 2.9.1, here 2.10.0"),
        ({"device_name": "B"}, "device_name: cached Test CPU, here B"),
        ({"cores": 4}, "cores: cached 2, here 4"),
        ({"capability": (9, 0)}, "capability: cached 0.0, here 9.0"),
        ({"problem_sha256": "f" * 64}, "problem: cached 000000000000, here ffffffffffff"),
    ],
)
def test_why_names_the_field_of_the_environment(
    root: Path, put: Put, explain: Explain, changed: dict[str, Any], said: str
) -> None:
    assert explain(put(root), **changed) == [said]


@pytest.mark.parametrize(
    "changed", [{"torch": "2.9.1+cu130"}, {"python": "3.13.0"}, {"tuner": "9"}, {"memory_bytes": 1}]
)
def test_some_fields_are_recorded_and_no_cause_of_a_miss(
    root: Path, put: Put, explain: Explain, changed: dict[str, Any]
) -> None:
    assert explain(put(root), **changed) == [""]


def test_why_names_the_template_version(
    root: Path, put: Put, tiny: Template, tiny_folder: Path, explain: Explain
) -> None:
    record = put(root)
    newer(tiny_folder)
    now = render.digest(tiny, tiny.variant("plain"))
    assert explain(record) == [f"template_digest: cached {record.template_digest[:12]}, here {now[:12]}"]


def test_why_compares_the_dtypes_of_all_inputs(root: Path, put: Put, explain: Explain) -> None:
    record = put(root)
    inputs = (*record.workload.inputs, TensorSpec(shape=(4,), dtype="int64"))
    (said,) = explain(changed(record, workload=record.workload.with_inputs(inputs)))
    assert "dtype: cached float32, here float32, int64" in said


def test_why_says_that_a_search_was_interrupted(root: Path, put: Put, explain: Explain) -> None:
    assert explain(put(root, confirmed=False)) == [store.UNCONFIRMED]


def test_why_says_that_the_judge_s_evidence_is_not_there(root: Path, put: Put, explain: Explain) -> None:
    record = put(root)
    edit(only(root), without_case("timed values"))
    said = "confirmed: cached yes, without the judge's evidence: no timed values; search again"
    assert explain(record) == [said]


def test_why_names_the_workload_and_lists_the_nearest_first(
    root: Path, put: Put, make_record: MakeRecord, explain: Explain
) -> None:
    put(root, shape=(5, 8), driver="580.1")
    put(root, shape=(6, 8))
    assert explain(make_record()) == [
        "shapes: cached 6x8, here 4x8",
        "shapes: cached 5x8, here 4x8; driver: cached 580.1, here none",
    ]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_why_lists_a_damaged_entry_and_moves_nothing(root: Path, put: Put, explain: Explain, damage: Damage) -> None:
    record = put(root)
    put(root, shape=(5, 8))
    damage(store.folders(root)[0])
    before = files_of(root)
    damaged, other = explain(record)
    assert damaged.startswith(("model_new.py: ", "record.json: "))
    assert other == "shapes: cached 5x8, here 4x8"
    assert files_of(root) == before


@pytest.mark.parametrize("knobs", [{"unroll": 8}, {"unroll": 3}, {"extra": 1}])
def test_why_does_not_call_an_entry_a_hit_that_would_be_refused(
    root: Path, put: Put, explain: Explain, knobs: dict[str, Any]
) -> None:
    record = put(root)
    edit(only(root), lambda v: v["point"]["knobs"].update(knobs))
    before = files_of(root)
    (reason,) = explain(record)
    assert reason
    assert files_of(root) == before


def test_why_of_an_empty_cache_is_nothing(make_record: MakeRecord, explain: Explain) -> None:
    assert explain(make_record()) == []
