"""The judge: has the reference, the oracles and the criterion, and never runs what it judges.

It sets papers for a candidate in another process and marks what comes back. One exam at a time.
"""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from tuner import problem
from tuner.errors import words_of
from tuner.records import CaseResult, Correctness, Workload
from tuner.verification import exams, in_pieces, perturbation, tensor_files
from tuner.verification.answers import Answer
from tuner.verification.cases import Case
from tuner.verification.cases.values import own_scales
from tuner.verification.criterion import Expectation, Wrong, judge
from tuner.verification.exams import Question
from tuner.verification.lending import Lender, Loan
from tuner.verification.papers import (
    Construction,
    GivenAnswer,
    GivenTensor,
    Paper,
    Perturbation,
    Plan,
    Sitting,
    TensorFile,
    TimedPaper,
    Values,
)
from tuner.verification.parameters import State, Tensors
from tuner.verification.pieces import Chosen
from tuner.verification.preconditions import same_answers
from tuner.verification.reference import Reference
from tuner.verification.suite import Outcome, Suite

SECRET_VALUES = 3  # sets of values that forwards are repeated on
MARKED = 2  # forwards among others whose right answers are known: on values that no other has
KEPT_BYTES = 2**28  # of answers that are kept to the end of many forwards
LEAST_KEPT, LEAST_KEPT_OF_LARGE = 3, 2
UNEVEN_SEED = 1  # beside the judge's own


@dataclass
class _Written:
    """A tensor for candidates, its file's state when it was written, and where it lies if not in the file."""

    tensor: torch.Tensor
    file: TensorFile
    state: tuple[int, ...]
    loan: Loan | None


@dataclass
class Exam:
    """What a candidate has been asked so far, and what came of it."""

    questions: Iterator[Question | CaseResult]
    outcome: Outcome
    current: Question | None = None


class Judge:
    """Judges candidates of one problem, workload and device.

    `seed` is secret from candidates; papers are written into `folder`.
    Raises ProblemError when the reference refuses the workload, UnjudgeableError when it cannot be judged.
    """

    def __init__(
        self,
        loaded: problem.Problem,
        workload: Workload,
        torch_device: str,
        seed: int,
        error_budget: float,
        folder: Path,
    ) -> None:
        self.suite = Suite(loaded, workload, torch_device, seed, error_budget)
        self.device, self.folder = torch_device, folder
        self.random = random.Random(seed)
        self.lender = Lender(self.suite.reference.backend)
        self.written: dict[int, _Written] = {}  # by the tensor's identity, which it keeps
        self.passing: list[int] = []  # of those, what the current paper alone needs
        self.exam: Exam | None = None
        self.secret: dict[Perturbation, Expectation] = {}  # timed values whose right answer is known
        self.repeated: dict[Perturbation, None] = {}  # those of them that are asked again and again

    # ---- an exam ----------------------------------------------------------------------------------

    def begin(self, complete: bool, leaves: tuple[str, ...] = ()) -> None:
        """Start an exam: the cases of a trial, or with `complete` all there are.

        `leaves` are the operators of PyTorch that this candidate may leave to it.
        """
        questions = exams.complete(self.suite) if complete else exams.trial(self.suite)
        self.exam = Exam(questions, Outcome(leaves))

    def next_paper(self) -> Paper | None:
        """The next paper; None when all have been set, or when a trial's case has been failed."""
        exam = self._exam()
        self._forget()
        for question in exam.questions:
            if isinstance(question, CaseResult):
                exam.outcome.results.append(question)
                continue
            exam.current = question
            return self._paper(question.case, question.repeat)
        exam.current = None
        return None

    def _forget(self) -> None:
        for number in self.passing:
            with contextlib.suppress(OSError):  # a candidate may have put something else there
                self.written[number].file.path.unlink(missing_ok=True)
            self._take_back(self.written.pop(number))
        self.passing.clear()
        if self.suite.reference.is_large:  # for the candidate
            self.suite.reference.backend.release_memory()

    @property
    def current_name(self) -> str:
        """The case that the last paper is of; not for candidates."""
        exam = self._exam()
        return exam.current.case.name if exam.current else ""

    def mark(self, sitting: Sitting, folder: Path) -> CaseResult:
        """Whether what became of the last paper is right; its answers lie in `folder`."""
        exam = self._exam()
        assert exam.current is not None
        question = exam.current
        result = self._marked(question, sitting, folder)
        if question.counts:
            ratio = exam.outcome.error_ratio
            exam.outcome.add(question.case, result, sitting.work)
            if question.beyond:
                exam.outcome.error_ratio = ratio
        else:
            exam.outcome.agrees_with_eager = result.ok
        question.done(result.ok)
        return result

    def _marked(self, question: Question, sitting: Sitting, folder: Path) -> CaseResult:
        case = question.case
        if sitting.raised:
            refused = case.may_refuse and sitting.refused
            return CaseResult(name=case.name, ok=refused, detail=f"{'refused: ' if refused else ''}{sitting.raised}")
        try:
            if any(not given.buffers for given in sitting.answers if _has_buffers(case)):
                raise Wrong("gave no buffers")
            verdicts: list[CaseResult] = []
            earlier: Answer | None = None
            for number, given in enumerate(sitting.answers):
                answer = self._taken(given, folder, number, question.case.expected)
                if earlier is not None and same_answers(answer, earlier):  # judging may take another oracle
                    continue
                verdicts.append(question.judge(answer))
                earlier = answer
        except (Wrong, RuntimeError, ValueError) as fault:  # what was given is no answer
            return CaseResult(name=case.name, ok=False, detail=words_of(fault)[:300])
        wrong = next((verdict for verdict in verdicts if not verdict.ok), None)
        if wrong is not None:
            return wrong
        if sitting.fault or not verdicts:
            return CaseResult(name=case.name, ok=False, detail=sitting.fault or "no answer was given")
        return case.told(verdicts[-1])

    def verdict(self) -> Correctness:
        """Everything that the exam has found."""
        return self._exam().outcome.correctness()

    def _exam(self) -> Exam:
        assert self.exam is not None, "no exam has begun"
        return self.exam

    def _taken(self, given: GivenAnswer, folder: Path, number: int, expected: Expectation) -> Answer:
        """The answer of this number. Raises Wrong for one of another form, of which nothing is read."""
        if given.structure != expected.structure or len(given.tensors) != len(expected.results):
            raise Wrong(f"returned {given.structure[:100]}, expected {expected.structure}")
        changed = {part.name.removeprefix("buffer "): part for part in expected.parts if part.is_buffer}
        pairs = list(zip(expected.results, given.tensors, strict=True))
        if given.buffers:
            absent = next((name for name in changed if name not in given.buffers), None)
            if absent is not None:
                raise Wrong(f"has no buffer {absent}")
            pairs += [(part, given.buffers[name]) for name, part in changed.items()]
        for part, tensor in pairs:
            if tensor.shape != tuple(part.eager.shape):
                which = f"{part.name}: " if part.name else ""
                raise Wrong(f"{which}shape {str(tensor.shape)[:100]}, expected {tuple(part.eager.shape)}")
        return tensor_files.take(given, folder, number, self.device, changed)

    # ---- a candidate's parameters -----------------------------------------------------------------

    @property
    def construction(self) -> Construction:
        """How a candidate of the workload itself is built."""
        return _construction(self.suite.reference)

    def layout_fault(self, parameters: dict[str, GivenTensor]) -> str:
        """How a candidate's parameters differ from the reference's in names, order, shapes or dtypes; "" for not."""
        wanted = {name: tensor_files.described(value) for name, value in self.suite.reference.state.items()}
        if list(parameters) != list(wanted):
            return f"parameters are {list(parameters)}, the reference's are {list(wanted)}"
        for name, mine in parameters.items():
            if (mine.shape, mine.dtype) != (wanted[name].shape, wanted[name].dtype):
                return (
                    f"parameter {name} is {mine.shape} of {mine.dtype}, "
                    f"the reference's {wanted[name].shape} of {wanted[name].dtype}"
                )
        return ""

    def parameters_fault(self, sitting: Sitting, folder: Path) -> str:
        """The same for their initial values, which were given as the tensors of one answer."""
        if sitting.raised or len(sitting.answers) != 1:
            return sitting.raised or "gave no parameters"
        given = sitting.answers[0]
        if [t.shape for t in given.tensors] != [tuple(value.shape) for value in self.suite.reference.state.values()]:
            return "gave other parameters than it has"
        try:
            mine = tensor_files.take(given, folder, 0, "cpu").tensors
        except (Wrong, RuntimeError, ValueError) as fault:
            return words_of(fault)[:300]
        for (name, value), own in zip(self.suite.reference.state.items(), mine, strict=True):
            if not torch.equal(own, value.cpu()):
                return f"parameter {name} is initialised with other values than the reference's"
        return ""

    # ---- what is written for candidates -----------------------------------------------------------

    def _paper(self, case: Case, repeat: bool) -> Paper:
        construction = _construction(case.reference)
        passing = all(case.inputs is not lasting.inputs for lasting in self.suite.cases)
        return Paper(construction, self._state(case.state, passing), self._files(case.inputs, passing), repeat)

    def _state(self, state: State, passing: bool = False) -> dict[str, TensorFile]:
        return dict(zip(state, self._files(list(state.values()), passing), strict=True))

    def _files(self, tensors: Tensors, passing: bool = False) -> tuple[TensorFile, ...]:
        """These tensors in files or lent, each written once; `passing` ones stay until the next paper."""
        files = []
        for x in tensors:
            written = self.written.get(id(x))
            if written is None or _state_of(written.file.path) != written.state:  # a candidate wrote over it
                if written is not None:
                    with contextlib.suppress(OSError):
                        written.file.path.unlink(missing_ok=True)
                    self._take_back(written)
                elif passing:
                    self.passing.append(id(x))
                written = self.written[id(x)] = self._write(x)
            elif written.loan is not None:
                written.loan.renew(x)
            files.append(written.file)
        self.suite.reference.backend.synchronize()  # what is lent is whole before another process reads it
        return tuple(files)

    def _write(self, x: torch.Tensor) -> _Written:
        path = self.folder / f"{self.random.getrandbits(64):016x}"
        loan = self.lender.lend(x)
        file = tensor_files.lend(x, path, loan.shared) if loan else tensor_files.write(x, path)
        path.chmod(0o400)
        return _Written(x, file, _state_of(path), loan)

    def _take_back(self, written: _Written) -> None:
        if written.loan is not None:
            self.lender.take_back(written.loan)

    def launch_paper(self) -> Paper:
        """The first case's: a candidate is called on it once before it is examined."""
        return self._paper(self.suite.cases[0], repeat=False)

    # ---- timed values -----------------------------------------------------------------------------

    def timed_paper(self) -> TimedPaper:
        """The values that forwards are timed on: those of the first case, plain inputs."""
        case = self.suite.cases[0]
        construction = _construction(case.reference)
        inputs = self._files(self.timed_inputs)
        return TimedPaper(construction, self._state(case.state), inputs, self._files(self.uneven))

    @functools.cached_property
    def timed_inputs(self) -> Tensors:
        return self.suite.timed_inputs

    @functools.cached_property
    def uneven(self) -> Tensors:
        """The timed inputs with scales that differ from sample to sample."""
        rng = exams.generator(self.suite, UNEVEN_SEED)
        return own_scales(self.timed_inputs, self.suite.reference.batch, rng)

    def plan(self, forwards: int, values: Values) -> Plan:
        """Values for so many forwards, and which of the answers are to be kept."""
        if values is Values.REPEATED:
            while len(self.repeated) < (1 if self.suite.reference.is_large else SECRET_VALUES):
                self.repeated[self._with_answer()] = None
            chosen = self.random.choices(list(self.repeated), k=forwards)
            return Plan(tuple(chosen), self._kept(forwards), self.answer_sizes)
        drawn = [perturbation.draw(self.random) for _ in range(forwards)]
        if values is Values.FRESH:
            return Plan(tuple(drawn), answer_sizes=self.answer_sizes)
        kept = self._kept(forwards)
        marked = 1 if self.suite.reference.is_large else MARKED
        for number in self.random.sample(kept, min(marked, forwards - 1) or 1):
            drawn[number] = self._with_answer()
        return Plan(tuple(drawn), kept, self.answer_sizes)

    @property
    def answer_sizes(self) -> tuple[int, ...]:
        return tuple(part.eager.nbytes for part in self.suite.cases[0].expected.results)

    def _kept(self, forwards: int) -> tuple[int, ...]:
        """As many of so many answers as KEPT_BYTES hold, picked in secret."""
        least = LEAST_KEPT_OF_LARGE if self.suite.reference.is_large else LEAST_KEPT
        kept = min(forwards, max(least, KEPT_BYTES // max(sum(self.answer_sizes), 1)))
        return tuple(sorted(self.random.sample(range(forwards), kept)))

    def mark_timed(self, plan: Plan, answers: tuple[GivenAnswer, ...], folder: Path) -> str:
        """What is wrong with the answers of forwards; "" when those that are marked are right.

        The same values have to give the same bits, and in memory of their own: an answer that a
        later forward has written over is another one by now.
        """
        if len(answers) != len(plan.keep):
            return "gave other answers than were asked for"
        right: dict[Perturbation, Answer] = {}
        for number, given in zip(plan.keep, answers, strict=True):
            by = plan.values[number]
            if by not in self.secret:
                continue
            try:
                answer = self._taken(given, folder, number, self.secret[by])
                if by in right:
                    if not same_answers(answer, right[by]):
                        return f"call {number + 1} gives other bits than an earlier one on the same values"
                    continue
                verdict = judge("timed values", self.secret[by], answer)
            except (Wrong, RuntimeError, ValueError) as fault:
                return words_of(fault)[:300]
            if not verdict.ok:
                return f"right when it was verified, wrong when it was timed: {verdict.detail}"
            right[by] = answer
        for by in plan.values:  # asked once: who meets them again knows that they are marked
            if by not in self.repeated:
                self.secret.pop(by, None)
        return ""

    def _with_answer(self) -> Perturbation:
        """New values of which the right answer is known."""
        case, by = self.suite.cases[0], perturbation.draw(self.random)
        reference, inputs = self.suite.reference, self.timed_inputs
        some = in_pieces.some_of(reference, inputs)
        if some:
            self.secret[by] = self._of_some(by, some)
        else:
            self.secret[by] = in_pieces.expectation(
                reference, case.state, lambda: perturbation.perturbed(inputs, by, reference.device)
            )
        return by

    def _of_some(self, by: Perturbation, some: int) -> Expectation:
        """The expectation of a large answer, at so many samples alone.

        What is allowed is no less than in the first case, which is of all samples and of values as large: libraries
        choose an algorithm by the size.
        """
        case, reference, batch = self.suite.cases[0], self.suite.reference, self.suite.reference.batch
        assert batch is not None
        samples = batch.size(self.timed_inputs)
        numbers = self.random.sample(range(samples), some)
        whole = perturbation.perturbed([x for k, x in enumerate(self.timed_inputs) if k not in batch.inputs], by)
        others = iter(whole)
        inputs = [
            perturbation.perturbed_samples(x, by, numbers, reference.device)
            if k in batch.inputs
            else next(others).to(reference.device)
            for k, x in enumerate(self.timed_inputs)
        ]
        found = in_pieces.expectation_of_some(
            reference, case.state, Chosen(tuple(numbers), samples, batch.results, inputs)
        )
        pairs = list(zip(found.parts, case.expected.parts, strict=True))
        own = [max(part.reference_error, first.reference_error) for part, first in pairs]
        return found.with_errors(own, [max(part.allowed, first.allowed) for part, first in pairs])


def _state_of(path: Path) -> tuple[int, ...]:
    """What changes when a file is written over or replaced."""
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mode, found.st_ctime_ns


def _has_buffers(case: Case) -> bool:
    return any(part.is_buffer for part in case.expected.parts)


def _construction(reference: Reference) -> Construction:
    return Construction(reference.workload, reference.seed, reference.training)
