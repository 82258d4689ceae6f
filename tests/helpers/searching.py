"""A space to search in, and evaluators that answer from a function instead of a device."""

from __future__ import annotations

from collections.abc import Callable

from tuner.records import CaseResult, Correctness, Evaluation, Performance, Status
from tuner.space import Branch, Constraint, Facts, Knob, Point, Space

RIGHT = Correctness(cases=(CaseResult(name="A", ok=True),), error_ratio=1.0, agrees_with_eager=True)


def took(latency_ms: float) -> Evaluation:
    performance = Performance(latency_ms=latency_ms, q25_ms=latency_ms, q75_ms=latency_ms, samples=3)
    return Evaluation(status=Status.OK, correctness=RIGHT, performance=performance)


def bowl(point: Point) -> Evaluation:
    """A time with its least, 1 ms, at a=8, b=4, mode=fast, off=False; 0.5 ms more in the variant `two`."""
    knobs = point.knobs
    apart: float = abs((1, 2, 4, 8, 16).index(knobs["a"]) - 3) + abs((1, 2, 4, 8).index(knobs["b"]) - 2)
    return took(
        1.0 + apart + 0.5 * (knobs["mode"] != "fast") + 0.25 * bool(knobs["off"]) + 0.5 * (point.variant == "two")
    )


KNOBS = (
    Knob("a", (1, 2, 4, 8, 16), 1),
    Knob("b", (1, 2, 4, 8), 8),
    Knob("mode", ("slow", "fast", "odd"), "slow"),
    Knob("off", (False, True), True),
)
SMALL_PRODUCT = Constraint("a*b<=64", lambda k, f: k.a * k.b <= 64)
EVEN = Constraint("not odd with 1", lambda k, f: not (k.mode == "odd" and k.a == 1))
ONE = Space((Branch("one", KNOBS, (SMALL_PRODUCT, EVEN)),), Facts())
TWO = Space((Branch("one", KNOBS, (SMALL_PRODUCT, EVEN)), Branch("two", KNOBS)), Facts())


class Fake:
    """An evaluator that answers from a function, in the order asked."""

    def __init__(self, function: Callable[[Point], Evaluation] = bowl, capacity: int = 1) -> None:
        self.function, self.capacity, self.waited_s = function, capacity, 0.0
        self.waiting: list[tuple[int, Point]] = []
        self.measured: list[Point] = []

    def submit(self, number: int, point: Point) -> None:
        self.waiting.append((number, point))

    def next(self) -> tuple[int, str, Evaluation]:
        number, point = self.waiting.pop(0)
        self.measured.append(point)
        return number, "0" * 64, self.function(point)


class Interrupted(Fake):
    """Ctrl-C arrives while a trial is under way."""

    def __init__(self, after: int, what: type[BaseException] = KeyboardInterrupt, capacity: int = 1) -> None:
        super().__init__(capacity=capacity)
        self.after, self.what = after, what

    def next(self) -> tuple[int, str, Evaluation]:
        if len(self.measured) == self.after:
            raise self.what
        return super().next()
