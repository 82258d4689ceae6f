"""What is persisted survives the way to disk and back, and nothing inconsistent gets there."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import MakeRecord, changed
from pydantic import ValidationError

from tuner.records import CaseResult, Correctness, Evaluation, Performance, Record, Status, TensorSpec, Trial, Workload
from tuner.space import Point
from tuner.store import shipped_cache
from tuner.store.seal import opened

OK = Performance(latency_ms=1.0, q25_ms=0.9, q75_ms=1.1, samples=3)
RIGHT = Correctness(cases=(CaseResult(name="A", ok=True),), error_ratio=1.0, agrees_with_eager=True)
WRONG = Correctness(cases=(CaseResult(name="A", ok=False),), error_ratio=99.0, agrees_with_eager=False)


def workload(**changes: Any) -> Workload:
    return Workload(**{"init": (3, (1, 8), False), "inputs": (TensorSpec(shape=(2, 3)),), **changes})


def test_a_record_survives_json(make_record: MakeRecord) -> None:
    record = make_record()
    assert Record.model_validate_json(record.model_dump_json()) == record


def test_a_workload_keeps_its_slug_through_json() -> None:
    one = workload()
    assert Workload.model_validate_json(one.model_dump_json()).slug == one.slug


def test_a_slug_shows_shape_dtype_and_precision() -> None:
    assert workload().slug.startswith("2x3-float32-match-")


def test_a_slug_shows_every_dtype_where_they_differ() -> None:
    inputs = (TensorSpec(shape=(2, 3), dtype="float16"), TensorSpec(shape=(2,), dtype="int64"))
    assert workload(inputs=inputs).slug.startswith("2x3_2-float16_int64-match-")


@pytest.mark.parametrize(
    "changes",
    [
        {"init": (4,)}, {"inputs": (TensorSpec(shape=(2, 4)),)}, {"precision": "ieee"}, {"init": (3, (1, 8))},
        {"cast": "float16"},
    ],
)  # fmt: skip
def test_every_part_of_a_workload_is_in_its_slug(changes: dict[str, Any]) -> None:
    assert workload(**changes).slug != workload().slug


def test_a_workload_that_casts_nothing_is_written_as_before_there_was_casting() -> None:
    assert set(workload().model_dump(mode="json")) == {"init", "inputs", "precision"}
    assert workload(cast="float16").model_dump(mode="json")["cast"] == "float16"


def test_a_slug_is_a_short_plain_name_whatever_the_shapes() -> None:
    slug = workload(inputs=(TensorSpec(shape=(10**9,) * 40), TensorSpec(shape=(), dtype="bfloat16"))).slug
    assert len(slug) < 128
    assert "/" not in slug


def test_a_point_keeps_types_and_order_through_json() -> None:
    point = Point("v", (("b", True), ("a", 1), ("c", "x")))
    trial = Trial(number=1, point=point, candidate_sha256="", evaluation=Evaluation(status=Status.COMPILE), finished="")
    text = trial.model_dump_json()
    assert '"point":{"variant":"v","knobs":{"b":true,"a":1,"c":"x"}}' in text
    back = Trial.model_validate_json(text).point
    assert back == point
    assert [type(value) for _, value in back.values] == [bool, int, str]


def test_a_workload_s_transitions_change_one_thing() -> None:
    one = workload(inputs=(TensorSpec(shape=(2, 3)), TensorSpec(shape=(), dtype="float16")))
    assert one.with_batch(7).shapes == ((7, 3), ())
    assert one.resized({(1, 3): 9, (0, 3): 5}).shapes == ((2, 9), ())
    assert one.with_precision("ieee").precision == "ieee"
    assert one.with_inputs([TensorSpec(shape=(4,))]).shapes == ((4,),)
    assert one.with_init([1, [2, 3]]).init == (1, (2, 3))
    assert one.with_init(one.init) == one.with_batch(2) == one


def test_another_dtype_is_of_floating_point_inputs_and_of_the_model() -> None:
    one = workload(inputs=(TensorSpec(shape=(2, 3)), TensorSpec(shape=(2,), dtype="int64")))
    short = one.in_dtype("bfloat16")
    assert (short.dtypes, short.cast, short.dtype) == (("bfloat16", "int64"), "bfloat16", "bfloat16")
    assert short.with_batch(7).cast == "bfloat16"
    integers = one.with_inputs([TensorSpec(shape=(2,), dtype="int64")])
    assert integers.in_dtype("float16").dtype == "float16"


@pytest.mark.parametrize("dtype", [None, "float32"])
def test_what_is_of_a_dtype_already_is_the_same_workload(dtype: Any) -> None:
    assert workload().in_dtype(dtype) == workload()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda one: one.in_dtype("int64"),
        lambda one: one.with_batch(-1),
        lambda one: one.with_precision("fast"),
        lambda one: one.with_init(3.5),
    ],
)
def test_a_transition_of_a_workload_is_validated(wrong: Callable[[Workload], object]) -> None:
    with pytest.raises((ValidationError, TypeError)):
        wrong(workload())


def test_an_evaluation_is_not_confirmed_by_a_wrong_result() -> None:
    trial = Evaluation(status=Status.OK, correctness=RIGHT, performance=OK)
    faster = Performance(latency_ms=0.5, q25_ms=0.4, q75_ms=0.6, samples=100)
    assert trial.confirmed_by(faster, RIGHT).latency_ms == 0.5
    with pytest.raises(ValidationError, match="only when every verification case is"):
        trial.confirmed_by(faster, WRONG)


def test_a_failed_trial_keeps_its_end_beside_its_build() -> None:
    built = Evaluation(status=Status.CRASH, detail="signal 11").with_build(1.5, None, "a warning")
    assert (built.status, built.detail, built.compile_s, built.log) == (Status.CRASH, "signal 11", 1.5, "a warning")


def test_a_verdict_on_other_cases_has_their_fault() -> None:
    assert WRONG.fault and not WRONG.with_cases(RIGHT.cases).fault


def test_a_note_does_not_hide_a_verdict_s_own_detail() -> None:
    assert CaseResult(name="A", ok=True).with_note("small") == CaseResult(name="A", ok=True, detail="small")
    assert CaseResult(name="A", ok=False, detail="zeros").with_note("small").detail == "zeros"


def test_the_final_confirms_a_record_with_another_trial_than_the_search_s_best(make_record: MakeRecord) -> None:
    before = make_record(confirmed=False)
    trial = Trial(
        number=9, point=Point("gpu", ()), candidate_sha256="c" * 64, evaluation=before.evaluation, finished=""
    )
    after = before.confirmed_by(trial, "d" * 64, trial.evaluation, [], None, None)
    assert (after.confirmed, after.point, after.candidate_sha256) == (True, trial.point, "c" * 64)
    assert (after.template_digest, after.baselines, after.workload) == ("d" * 64, (), before.workload)
    assert after.measured_under({"sm": "1980 MHz"}).conditions == {"sm": "1980 MHz"}


def without(record: Record, name: str) -> Record:
    """The record less its case of this name."""
    correctness = record.evaluation.correctness
    assert correctness is not None
    correctness = correctness.with_cases(case for case in correctness.cases if case.name != name)
    return changed(record, evaluation=changed(record.evaluation, correctness=correctness))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("A random affine", "no case of a trial"),
        ("A random affine, seed 3", "no case with seed 3"),
        ("G NaN in one sample", "no case G"),
        ("own work", "no own work"),
        ("100 repeats", "no repeats"),
        ("timed values", "no timed values"),
        ("time from outside", "no time from outside"),
    ],
)
def test_what_is_confirmed_holds_the_cases_of_a_complete_exam(make_record: MakeRecord, name: str, said: str) -> None:
    record = make_record()
    assert record.evidence_fault == ""
    assert without(record, name).evidence_fault == said
    assert without(changed(record, confirmed=False), name).evidence_fault == ""


def test_nothing_is_confirmed_without_the_judge_s_evidence(make_record: MakeRecord) -> None:
    before = without(make_record(confirmed=False), "timed values")
    trial = Trial(
        number=9, point=Point("gpu", ()), candidate_sha256="c" * 64, evaluation=before.evaluation, finished=""
    )
    with pytest.raises(ValueError, match="without the judge's evidence: no timed values"):
        before.confirmed_by(trial, "d" * 64, before.evaluation, [], None, None)


@pytest.mark.parametrize("path", sorted(shipped_cache().glob("*/*/*/record.json")), ids=lambda path: path.parts[-3])
def test_shipped_records_open_and_hold_the_judge_s_evidence(path: Path) -> None:
    record = opened(path.read_bytes())
    assert (record.schema_version, record.confirmed, record.evidence_fault) == (1, True, "")


@pytest.mark.parametrize(
    "payload",
    [
        {"status": Status.OK},
        {"status": Status.OK, "performance": OK},
        {"status": Status.OK, "performance": OK, "correctness": WRONG},
        {"status": Status.COMPILE, "performance": OK},
        {"status": Status.VERIFY, "performance": OK, "correctness": WRONG},
    ],
)
def test_the_status_decides_which_payload_may_exist(payload: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Evaluation(**payload)


def test_a_failed_trial_is_infinitely_slow() -> None:
    assert Evaluation(status=Status.CRASH).latency_ms == math.inf
    assert Evaluation(status=Status.OK, performance=OK, correctness=RIGHT).latency_ms == 1.0


@pytest.mark.parametrize(
    "stored",
    [{"variant": "v"}, {"variant": "v", "knobs": {"a": 1.5}}, {"variant": "v", "knobs": {}, "extra": 1}, "v a=1", None],
)
def test_what_is_no_point_is_refused(make_record: MakeRecord, stored: Any) -> None:
    with pytest.raises(ValidationError):
        Record.model_validate({**make_record().model_dump(mode="json"), "point": stored})


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf])
def test_a_time_is_positive_and_finite(value: float) -> None:
    with pytest.raises(ValidationError):
        Performance(latency_ms=value, q25_ms=1, q75_ms=1, samples=1)


def test_an_unknown_key_is_refused(make_record: MakeRecord) -> None:
    with pytest.raises(ValidationError):
        Record.model_validate({**make_record().model_dump(mode="json"), "extra": 1})


def test_the_environment_names_the_device_folder(make_record: MakeRecord) -> None:
    assert make_record().environment.slug == "cpu-test-cpu-2c"
    gpu = make_record(device_kind="cuda", device_name="NVIDIA H200").environment
    assert gpu.slug == "nvidia-h200"
