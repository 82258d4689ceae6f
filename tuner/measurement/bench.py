"""The bench: runs candidates in a process of its own and times them. It knows no oracle and no tolerance.

Implements protocol.BenchService. What a candidate does to this process is its own: on a CPU every
trial has a fresh one, on CUDA the process goes on only while it is as it was.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from tuner import backends, problem
from tuner.errors import words_of
from tuner.measurement import process_state
from tuner.measurement.outside_work import OutsideWork, foreign_imports
from tuner.measurement.protocol import Loaded, Sampled
from tuner.measurement.statistics import Untrusted
from tuner.measurement.timer import Timer
from tuner.verification import tensor_files
from tuner.verification.answers import Answer
from tuner.verification.criterion import Wrong
from tuner.verification.guarded_model import REFUSALS, GuardedModel, construct
from tuner.verification.guards import GuardedAllocations
from tuner.verification.papers import Construction, GivenAnswer, Paper, Plan, Sitting, TensorFile, TimedPaper
from tuner.verification.parameters import State, Tensors, load_state
from tuner.verification.pieces import is_large
from tuner.workers.protocol import Report


@dataclass
class Seat:
    """A candidate on the bench: its class, and its model as it was built last."""

    model_new: Callable[..., torch.nn.Module]
    construction: Construction | None = None
    model: GuardedModel | None = None


class Bench:
    """Candidates by the names of their seats, on one device."""

    def __init__(self, torch_device: str, extensions: Path, report: Report = lambda phase: None) -> None:
        os.environ["TORCH_EXTENSIONS_DIR"] = str(extensions)
        self.report = report
        report("device")
        self.backend = backends.of(torch_device)
        self.device = self.backend.torch_device
        self.backend.select()
        self.state_before = process_state.switches()
        process_state.seal()
        self.outside = OutsideWork()
        self.seats: dict[str, Seat] = {}
        self.read: dict[Path, torch.Tensor] = {}  # files that come again with every candidate
        self.timers: dict[tuple[Path, ...], Timer] = {}

    # ---- loading ----------------------------------------------------------------------------------

    def load(self, seat: str, path: Path, sha256: str, construction: Construction) -> Loaded:
        """Build and load the candidate of a file, construct its model, and describe its parameters."""
        self.report("load")
        self.seats.pop(seat, None)
        try:
            text = path.read_bytes()
            if hashlib.sha256(text).hexdigest() != sha256:
                raise Wrong(f"{path} is not the file that was rendered")
            foreign = foreign_imports(text.decode(errors="replace"))
            if foreign:
                raise Wrong(f"imports {', '.join(foreign)}: a candidate needs PyTorch and the standard library alone")
            module = problem.execute(path, f"tuner_candidate_{sha256[:16]}")
            if hasattr(module, "preload"):  # any file that defines ModelNew may be verified
                module.preload()
            process_state.check_untampered()
            self.seats[seat] = Seat(module.ModelNew)
            model = self._built(seat, construction)
            parameters = {name: tensor_files.described(x) for name, x in model.model.state_dict().items()}
            return Loaded(parameters=parameters)
        except BaseException as error:  # the candidate's own code
            return Loaded(fault=_said(error))

    def _built(self, seat: str, construction: Construction) -> GuardedModel:
        at = self.seats[seat]
        if at.model is None or at.construction != construction:
            model = construct(at.model_new, construction.workload, construction.seed)
            if construction.training is not None:
                model.train(construction.training)
            at.model, at.construction = GuardedModel(model, self.backend), construction
            at.model.guard_parameters()
        return at.model

    def parameters(self, seat: str, construction: Construction, folder: Path) -> Sitting:
        """The initial parameters and buffers of a new model, given as an answer."""
        self.report("load")
        tensor_files.release()
        try:
            model = construct(self.seats[seat].model_new, construction.workload, construction.seed)
            answer = Answer("tensor", list(model.state_dict().values()))
            return Sitting((tensor_files.give(answer, folder, 0),))
        except BaseException as error:
            return Sitting(raised=_said(error))

    def forget(self, seat: str) -> None:
        """Let a candidate go, with what it holds."""
        self.seats.pop(seat, None)
        self.backend.release_memory()

    def rename(self, seat: str, to: str) -> None:
        """Another seat for a candidate; who sat there goes."""
        self.seats[to] = self.seats.pop(seat)

    # ---- answering --------------------------------------------------------------------------------

    def launch(self, seat: str, paper: Paper) -> str:
        """The first call, with what the candidate allocates and keeps between guards. What it did wrong, or ""."""
        self.report("launch")
        kept = GuardedAllocations()
        try:
            with self.outside.watched():
                self._built(seat, paper.construction).call(self._inputs(paper.inputs), kept)
        except BaseException as error:
            return _said(error)
        return "" if kept.intact() else "wrote outside the tensors that it allocated"

    def sit(self, seat: str, paper: Paper, folder: Path) -> Sitting:
        """Answer one paper; the answers' bytes go into `folder`."""
        self.report("verify")
        tensor_files.release()
        given: list[GivenAnswer] = []
        answers: list[Answer] = []  # that are still to be given
        model: GuardedModel | None = None
        fault = raised = ""
        refused = False
        try:
            model = self._built(seat, paper.construction)
            state, inputs = self._state(paper.state), self._inputs(paper.inputs)
            coming = model.answers(state, inputs, paper.repeat)
            more = True
            while more:
                with self.outside.watched():
                    answer = next(coming, None)
                more = answer is not None
                if answer is not None:
                    answers.append(answer)
                    if is_large(sum(y.nbytes for y in answer.tensors), self.backend):  # there may be no room for two
                        given += self._given(answers, folder, len(given))
                    del answer
        except Wrong as wrong:
            fault = words_of(wrong)
        except REFUSALS as error:
            raised, refused = _said(error), bool(words_of(error)) and self.backend.is_healthy()
        except BaseException as error:
            raised = _said(error)
        given += self._given(answers, folder, len(given))
        return Sitting(tuple(given), model.work if model else {}, fault or self._left_behind(), raised, refused)

    @staticmethod
    def _given(answers: list[Answer], folder: Path, first: int) -> list[GivenAnswer]:
        """Write these answers and let them go."""
        given = [tensor_files.give(answer, folder, first + number) for number, answer in enumerate(answers)]
        answers.clear()
        return given

    def _left_behind(self) -> str:
        """What the candidate changed or handed out; "" when the process is as it was."""
        changed = process_state.switched(self.state_before)
        replaced = process_state.tampered()
        if replaced is not None:
            return f"the candidate replaced {replaced}"
        if changed is not None:
            return f"changed {changed}, which is not its own"
        if self.backend.has_strayed():
            return "runs on cores that are not its own"
        return self.outside.said()

    def is_as_it_was(self) -> bool:
        """Whether the process, and its device, may run another candidate."""
        return not self._left_behind() and self.backend.is_healthy()

    # ---- timing -----------------------------------------------------------------------------------

    def sample(
        self, seat: str, paper: TimedPaper, plan: Plan, folder: Path, uneven: bool, beside: str | None
    ) -> Sampled:
        """Time a forward for each value of the plan, or of its uneven inputs; kept answers go into `folder`.

        With `beside`, that candidate runs between them, so that both see the same clocks.
        """
        self.report("benchmark")
        tensor_files.release()
        try:
            model = self._model(seat, paper)
            timer = self._timer(paper.uneven if uneven else paper.inputs)
            other = self._model(beside, paper) if beside in self.seats else None
            times, kept = [], []
            for number, by in enumerate(plan.values):
                if other is not None:
                    timer.sample_ms(other, by)
                elapsed, result = timer.sample_ms(model, by)
                times.append(elapsed)
                if number in plan.keep:
                    kept.append(tensor_files.give(Answer.of(result), folder, number))
            return Sampled(times_ms=times, kept=tuple(kept), fault=self._left_behind())
        except (Wrong, Untrusted) as fault:
            return Sampled(fault=words_of(fault))
        except BaseException as error:
            return Sampled(fault=_said(error))

    def run(self, seat: str | None, paper: TimedPaper, plan: Plan, folder: Path) -> Sampled:
        """Forwards on the values of the plan, one after the other; the caller has the clock.

        Answers that are to be kept are held as they were returned until the last forward has ended.
        Without a seat everything is done but the forwards: what the rest costs, answers of the same size included.
        """
        self.report("run")
        tensor_files.release()
        try:
            model = self._model(seat, paper) if seat is not None else None
            timer = self._timer(paper.inputs)
            held: list[tuple[int, object]] = []
            with torch.no_grad(), self.outside.watched():
                for number, by in enumerate(plan.values):
                    timer.refresh(by)
                    result = model(*timer.given) if model is not None else self._blank(plan.answer_sizes)
                    if number in plan.keep:
                        held.append((number, result))
            self.backend.synchronize()
            kept = tuple(tensor_files.give(Answer.of(result), folder, number) for number, result in held)
            return Sampled(kept=kept, fault=self._left_behind())
        except BaseException as error:
            return Sampled(fault=_said(error))

    def _model(self, seat: str, paper: TimedPaper) -> torch.nn.Module:
        model = self._built(seat, paper.construction).model
        load_state(model, self._state(paper.state))
        return model

    def _blank(self, sizes: tuple[int, ...]) -> list[torch.Tensor]:
        """As many tensors as an answer has: giving each of them costs something."""
        return [torch.empty(size, dtype=torch.uint8, device=self.device) for size in sizes]

    def _timer(self, files: tuple[TensorFile, ...]) -> Timer:
        key = tuple(file.path for file in files)
        if key not in self.timers:
            if self._are_large(files):  # one timer at a time, which alone has its inputs
                self._let_timers_go()
                self.timers[key] = Timer([tensor_files.read(file, self.device) for file in files], 0)
            else:
                self.timers[key] = Timer(self._tensors(files), 0)
        return self.timers[key]

    # ---- what the judge has written ---------------------------------------------------------------

    def _state(self, files: dict[str, TensorFile]) -> State:
        return dict(zip(files, self._tensors(tuple(files.values())), strict=True))

    def _inputs(self, files: tuple[TensorFile, ...]) -> Tensors:
        """Inputs of a paper. Large ones stay on the CPU, where they are mapped: a call has a copy of its own."""
        if not self._are_large(files):
            return self._tensors(files)
        self._let_timers_go()
        return [tensor_files.read(file, self.device if file.shared else "cpu").cpu() for file in files]

    def _are_large(self, files: tuple[TensorFile, ...]) -> bool:
        return is_large(sum(file.nbytes for file in files), self.backend)

    def _let_timers_go(self) -> None:
        self.timers.clear()
        self.backend.release_memory()

    def _tensors(self, files: tuple[TensorFile, ...]) -> Tensors:
        tensors = []
        for file in files:
            if file.path not in self.read:
                self.read = {path: x for path, x in self.read.items() if path.exists()}  # passing ones are gone
                self.read[file.path] = tensor_files.read(file, self.device)
            tensors.append(self.read[file.path])
        return tensors


def _said(error: BaseException) -> str:
    """What an exception says, in one line, with its type where that tells more."""
    text = words_of(error)
    line = text.splitlines()[0][:500] if text else ""
    return line if isinstance(error, Wrong | Untrusted) else f"{type(error).__name__}: {line}"
