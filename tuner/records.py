"""What is persisted: workloads, environments, evaluations, trials and the record of a winner.

pydantic models that refuse unknown keys and never change; JSON is their only form on disk.
What follows from one (`with_batch`, `confirmed_by`, ...) is a new value, validated as a whole.
Units are in the names. A trial's `Status` decides which payload may exist.
"""

from __future__ import annotations

import enum
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from tuner.space import Point

Precision = Literal["match", "ieee", "tf32"]
Floating = Literal["float16", "bfloat16", "float32", "float64"]
FLOATING = get_args(Floating)
EXAM_SEEDS = 3  # sets of values on which a complete exam asks the cases of a trial
FiniteMs = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Stored(BaseModel):
    """Base of all that is persisted: unknown keys are refused, and no value changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def _with(self, **changes: Any) -> Self:
        """A value with these fields changed, validated as if it came from disk."""
        return type(self).model_validate({**dict(self), **changes})


def names_of(dtypes: Sequence[str]) -> str:
    """The dtype that all are, or each, separated by commas."""
    return ", ".join(dtypes[:1] if len(set(dtypes)) == 1 else dtypes)


class TensorSpec(Stored):
    """Shape and dtype (torch's name for it) of one input."""

    shape: tuple[Annotated[int, Field(ge=0)], ...]
    dtype: str = "float32"


class Workload(Stored):
    """What is tuned for: the constructor's arguments, the inputs, the precision class, and `cast`.

    That is the dtype which the model, parameters and buffers, is cast to once it is constructed, as `model.to(dtype)`
    does; None leaves it as its constructor makes it. `problem.construct` is what does it.
    """

    init: tuple[Any, ...]
    inputs: tuple[TensorSpec, ...]
    precision: Precision = "match"
    cast: Floating | None = None

    @model_serializer(mode="wrap")
    def _cast_where_there_is_one(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A workload that casts nothing is written, and named, as it was when there was no casting."""
        return {key: value for key, value in plain(self).items() if key != "cast" or value is not None}

    @field_validator("init")
    @classmethod
    def _nested_tuples(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        """JSON knows no tuples: what was one comes back as one, so equal workloads compare equal."""
        return tuple(cls._nested_tuples(tuple(v)) if isinstance(v, list | tuple) else v for v in value)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The inputs' shapes, in order."""
        return tuple(spec.shape for spec in self.inputs)

    @property
    def dtype(self) -> str:
        """What parameters are of: `cast`, else the dtype of the first floating-point input, else float32."""
        return self.cast or next((dtype for dtype in self.dtypes if dtype in FLOATING), "float32")

    @property
    def each_dtype(self) -> tuple[str, ...]:
        """The inputs' dtypes where they are not all `dtype`, else ()."""
        return () if set(self.dtypes) == {self.dtype} else self.dtypes

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The inputs' dtypes, in order."""
        return tuple(spec.dtype for spec in self.inputs)

    @property
    def dtype_names(self) -> str:
        """The dtype that all inputs have, or each input's, separated by commas."""
        return names_of(self.dtypes)

    def with_init(self, init: Sequence[Any]) -> Workload:
        """The same inputs for other constructor arguments."""
        return self._with(init=tuple(init))

    def with_inputs(self, inputs: Iterable[TensorSpec]) -> Workload:
        """The same constructor arguments for other inputs."""
        return self._with(inputs=tuple(inputs))

    def in_dtype(self, dtype: Floating | None) -> Workload:
        """The same problem in another dtype: floating-point inputs are of it, and the model is cast to it.

        As it is with None, and with float32 where inputs are of that, for constructors make nothing else by themselves.
        """
        own = {self.dtype, *(each for each in self.dtypes if each in FLOATING)}
        if dtype is None or own == {dtype} == {"float32"}:
            return self
        inputs = [TensorSpec(shape=s.shape, dtype=dtype if s.dtype in FLOATING else s.dtype) for s in self.inputs]
        return self._with(inputs=tuple(inputs), cast=dtype)

    def with_precision(self, precision: Precision) -> Workload:
        """The same problem in another precision class."""
        return self._with(precision=precision)

    def resized(self, sizes: Mapping[tuple[int, int], int]) -> Workload:
        """The same inputs with other sizes: `sizes` maps a dimension's number and its size now to the new one."""
        return self.with_inputs(
            TensorSpec(shape=tuple(sizes.get((d, n), n) for d, n in enumerate(spec.shape)), dtype=spec.dtype)
            for spec in self.inputs
        )

    def with_batch(self, batch: int) -> Workload:
        """The same inputs with another first dimension; what has none (a scalar) stays."""
        return self.resized({(0, spec.shape[0]): batch for spec in self.inputs if spec.shape})

    @property
    def slug(self) -> str:
        """Folder name in the cache: readable, and unique by a hash over everything."""
        shapes = "_".join("x".join(map(str, spec.shape)) for spec in self.inputs)
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        tail = hashlib.sha256(canonical.encode()).hexdigest()[:8]
        dtypes = self.dtype_names.replace(", ", "_")
        return f"{shapes[:80]}-{dtypes[:24]}-{self.precision}-{tail}"


class Environment(Stored):
    """Where a measurement was made; `store.Key` says which fields decide whether an entry applies."""

    device_kind: Literal["cuda", "cpu"]
    device_name: str
    capability: tuple[int, int]
    cores: int
    memory_bytes: int
    driver: str
    toolkit: str  # nvcc's version on cuda, the C++ compiler's on cpu
    torch: str
    cudnn: str
    python: str
    tuner: str

    @property
    def slug(self) -> str:
        """Folder name of the device in the cache."""
        name = "".join(c if c.isalnum() else "-" for c in self.device_name.lower())
        name = "-".join(part for part in name.split("-") if part)
        return name if self.device_kind == "cuda" else f"cpu-{name}-{self.cores}c"

    @property
    def words(self) -> str:
        """What a person calls such a device."""
        return self.device_name + (f", {self.cores} cores" if self.device_kind == "cpu" else "")


class Status(enum.StrEnum):
    """How a trial ended: ok, or the phase that failed."""

    OK = "ok"
    COMPILE = "compile"
    LOAD = "load"
    LAUNCH = "launch"
    VERIFY = "verify"
    BENCHMARK = "benchmark"
    TIMEOUT = "timeout"
    CRASH = "crash"


class CaseResult(Stored):
    """The verdict on one verification case: largest error against the oracle, what was allowed, the reference's own."""

    name: str
    ok: bool
    error: float | None = None
    allowed: float | None = None
    reference_error: float | None = None
    detail: str = ""

    def with_note(self, note: str) -> CaseResult:
        """The same verdict; `note` is its detail where it has none."""
        return self._with(detail=self.detail or note)

    def with_addition(self, text: str) -> CaseResult:
        """The same verdict with more said of it."""
        return self._with(detail=self.detail + text)


class Correctness(Stored):
    """All cases; `error_ratio` is the largest error over the reference's own; KernelBench's 1e-4 beside it."""

    cases: tuple[CaseResult, ...]
    error_ratio: float
    agrees_with_eager: bool

    @property
    def fault(self) -> str:
        """The first case that failed, in one line; "" when all passed."""
        return next((f"case {case.name}: {case.detail}" for case in self.cases if not case.ok), "")

    @property
    def evidence_fault(self) -> str:
        """What a complete exam has and these cases have not, in one line; "" when they are one's."""
        names = [case.name for case in self.cases]
        missing = [what for what, name in _EVIDENCE.items() if not any(re.fullmatch(name, each) for each in names)]
        return f"no {', no '.join(missing)}" if missing else ""

    def with_cases(self, cases: Iterable[CaseResult]) -> Correctness:
        """The same figures with these cases in the place of its own."""
        return self._with(cases=tuple(cases))


# What every complete exam has a case for, whatever the problem, and how the case's name begins or reads.
_EVIDENCE = {
    "case of a trial": r"[A-D] [^,]*",
    **{f"case with seed {number}": rf"[A-D] .*, seed {number}" for number in range(2, EXAM_SEEDS + 1)},
    **{f"case {letter}": f"{letter} .*" for letter in "EFGHIJ"},
    **{name: name for name in ("own work", "timed values", "time from outside")},
    "repeats": r"\d+ repeats",
}


class Performance(Stored):
    """Median and quartiles of one whole-module forward."""

    latency_ms: FiniteMs
    q25_ms: FiniteMs
    q75_ms: FiniteMs
    samples: Annotated[int, Field(ge=1)]


class Resources(Stored):
    """What ptxas reported, the largest over the kernels of the source."""

    registers: int
    shared_memory_bytes: int
    spill_bytes: int


class Span(Stored):
    """A phase that a trial was in: since when (Unix time, s) and for how long."""

    phase: Literal["compile", "wait", "load", "verify", "benchmark"]  # wait: others used the device
    began: float
    seconds: float


class Evaluation(Stored):
    """The outcome of one trial. `detail` is one line; `log` the tail of what was printed."""

    status: Status
    detail: str = ""
    correctness: Correctness | None = None
    performance: Performance | None = None
    resources: Resources | None = None
    compile_s: float = 0.0
    run_s: float = 0.0
    spans: tuple[Span, ...] = ()
    log: str = ""

    @model_validator(mode="after")
    def _payload_fits_status(self) -> Evaluation:
        if (self.performance is not None) != (self.status is Status.OK):
            raise ValueError("a trial has a performance exactly when its status is ok")
        if self.status is Status.OK and (self.correctness is None or self.correctness.fault):
            raise ValueError("a trial is ok only when every verification case is")
        return self

    @property
    def latency_ms(self) -> float:
        """The median, infinite for a trial that failed."""
        return self.performance.latency_ms if self.performance else math.inf

    def with_log(self, log: str) -> Evaluation:
        """With what its process printed."""
        return self._with(log=log)

    def with_build(self, compile_s: float, resources: Resources | None, log: str) -> Evaluation:
        """What the compiler said of the candidate, beside what came of it."""
        return self._with(compile_s=compile_s, resources=resources, log=log)

    def with_spans(self, before: Iterable[Span]) -> Evaluation:
        """With the phases that came before its own."""
        return self._with(spans=(*before, *self.spans))

    def confirmed_by(self, performance: Performance, correctness: Correctness) -> Evaluation:
        """The final's figures in the place of the trial's. Raises ValidationError unless every case is ok."""
        return self._with(performance=performance, correctness=correctness)


class _PointOnDisk(Stored):
    variant: str
    knobs: dict[str, int | bool | str]


def _read_point(value: Any) -> Point:
    if isinstance(value, Point):
        return value
    stored = _PointOnDisk.model_validate(value)
    return Point.of(stored.variant, stored.knobs)


# A point, on disk {"variant": NAME, "knobs": {NAME: VALUE}}.
StoredPoint = Annotated[
    Point, PlainValidator(_read_point), PlainSerializer(lambda point: {"variant": point.variant, "knobs": point.knobs})
]


class Trial(Stored):
    """One line of the ledger."""

    number: int
    point: StoredPoint
    candidate_sha256: str
    evaluation: Evaluation
    finished: str  # ISO 8601, UTC


class Comparison(Stored):
    """A baseline (or the runner-up) beside the winner: its time and the winner's speed-up over it.

    The interval is the 95 % bootstrap interval of the median of paired ratios.
    """

    name: str
    performance: Performance
    speedup: float
    speedup_low: float
    speedup_high: float


class Floor(Stored):
    """The least time the device's measured ceilings allow: bytes over bandwidth, operations over rate."""

    bytes: int
    flops: int
    memory_ms: float
    compute_ms: float
    ceilings: dict[str, float]  # name -> GB/s or TFLOP/s, the unit in the name

    @property
    def floor_ms(self) -> float:
        """The larger of the two: both bounds hold at once."""
        return max(self.memory_ms, self.compute_ms)


class Record(Stored):
    """Everything about a winner; stands beside its `model_new.py`."""

    schema_version: Literal[1] = 1
    template: str
    template_digest: str
    problem_sha256: str
    workload: Workload
    point: StoredPoint
    candidate_sha256: str
    environment: Environment
    error_budget: float
    evaluation: Evaluation
    leaves: tuple[str, ...] = ()  # operators that its template declares to leave to PyTorch
    confirmed: bool = True  # by the cases of a complete exam, which it holds; False for an interrupted search's best
    baselines: tuple[Comparison, ...] = ()
    runner_up: Comparison | None = None
    runner_up_point: StoredPoint | None = None
    floor: Floor | None = None
    trials: dict[str, int]  # status -> count, and "rejected: RULE" -> points that this constraint refused
    conditions: dict[str, str] = Field(default_factory=dict)  # clocks, power, throttling, busy device
    seed: int
    created: str  # ISO 8601, UTC

    def __repr__(self) -> str:
        """A line for a person: the file has the rest."""
        shapes = ", ".join("x".join(map(str, shape)) for shape in self.workload.shapes)
        beside = "".join(f", {c.speedup:.3g} times as fast as {c.name}" for c in self.baselines)
        return f"{shapes} {self.workload.dtype_names}: {self.point} {self.latency_ms:.4g} ms{beside}"

    __str__ = __repr__

    @property
    def latency_ms(self) -> float:
        """The winner's median."""
        return self.evaluation.latency_ms

    @property
    def evidence_fault(self) -> str:
        """What of the judge's evidence is missing where it says to be confirmed; "" for nothing."""
        correctness = self.evaluation.correctness
        if not self.confirmed:
            return ""
        return correctness.evidence_fault if correctness else "no cases"

    def confirmed_by(
        self,
        trial: Trial,
        template_digest: str,
        evaluation: Evaluation,
        baselines: Sequence[Comparison],
        runner_up: Comparison | None,
        runner_up_point: Point | None,
        leaves: tuple[str, ...] = (),
    ) -> Record:
        """The record of the final's winner, which may be another trial than the search's best.

        Raises ValueError unless the evaluation's cases are those of a complete exam.
        """
        made = self._with(
            point=trial.point,
            template_digest=template_digest,
            candidate_sha256=trial.candidate_sha256,
            evaluation=evaluation,
            leaves=leaves,
            confirmed=True,
            baselines=tuple(baselines),
            runner_up=runner_up,
            runner_up_point=runner_up_point,
        )
        if made.evidence_fault:
            raise ValueError(f"nothing is confirmed without the judge's evidence: {made.evidence_fault}")
        return made

    def measured_under(self, conditions: Mapping[str, str]) -> Record:
        """With the card's conditions while the final ran."""
        return self._with(conditions=dict(conditions))

    def with_floor(self, floor: Floor) -> Record:
        """With a floor from another reading of the ceilings."""
        return self._with(floor=floor)
