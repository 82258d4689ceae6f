"""The pipeline on real candidates with faults in them: each fails alone, with its phase, and the next is clean."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import injected
from helpers.processes import gone_within, written
from helpers.tiny import TINY
from torch.utils import cpp_extension

from tuner.errors import DeviceError, ProblemError, TunerError
from tuner.execution.compilers import Compilers
from tuner.execution.job import candidate_path
from tuner.execution.lane import Lane
from tuner.execution.pipeline import Pipeline
from tuner.problem import execute
from tuner.records import Evaluation, Status
from tuner.template.render import Candidate

pytestmark = pytest.mark.usefixtures("needs_compiler")

NEVER_S = 600.0  # a deadline that no test reaches: its own timeout comes first


class Rig:
    """A pipeline, and a folder for the templates that its candidates are made of."""

    def __init__(self, root: Path, **job: Any) -> None:
        self.root, self.count = root, 0
        self.sound: Candidate | None = None
        problem = injected.write(root / "sound") / "problem.py"
        self.folder = root / "run"
        self.folder.mkdir()
        made = injected.job(problem, **job)
        self.lane = Lane(made, self.folder)
        self.compilers = Compilers(1, made.environment, made.torch_device)
        self.pipeline = Pipeline(made, self.lane, self.folder, 0.0, self.compilers)

    def measure(self, **faults: str) -> Evaluation:
        self.count += 1
        return self._measured(injected.candidate(self.root / f"template_{self.count}", **faults))

    def measure_candidate(self, candidate: Candidate) -> Evaluation:
        self.count += 1
        return self._measured(candidate)

    def _measured(self, candidate: Candidate) -> Evaluation:
        self.pipeline.submit(self.count, candidate)
        number, sha256, evaluation = self.pipeline.next()
        assert (number, sha256) == (self.count, candidate.sha256)
        return evaluation

    def works(self, new: bool = False) -> bool:
        """A sound candidate is measured; with `new` it is compiled as well."""
        if new or self.sound is None:
            self.sound = injected.candidate(self.root / f"sound_{self.count}", kernel=f"// sound {self.count}")
        self.count += 1
        self.pipeline.submit(self.count, self.sound)
        evaluation = self.pipeline.next()[2]
        assert evaluation.status is Status.OK, evaluation
        return True

    def close(self) -> None:
        self.pipeline.close()
        self.compilers.close()
        self.lane.close()


MakeRig = Callable[..., Rig]  # the fixture `own_rig`


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("rig"), run_timeout_s=4, compile_timeout_s=30)
    made.lane.prepare()
    yield made
    made.close()


@pytest.fixture
def own_rig(tmp_path: Path) -> Iterator[MakeRig]:
    rigs: list[Rig] = []

    def own_rig(**job: Any) -> Rig:
        rigs.append(Rig(tmp_path / f"rig-{len(rigs)}", **job))
        return rigs[-1]

    (tmp_path / "rig-0").mkdir()
    yield own_rig
    for made in rigs:
        made.close()


# ---- the control -----------------------------------------------------------------------------------


def test_a_sound_candidate_is_measured(rig: Rig) -> None:
    evaluation = rig.measure()
    assert (evaluation.status, evaluation.detail) == (Status.OK, "")
    assert evaluation.latency_ms > 0 and evaluation.compile_s > 0
    assert evaluation.correctness is not None and all(case.ok for case in evaluation.correctness.cases)


# ---- faults of compiling ---------------------------------------------------------------------------


def test_a_compile_error_is_told_by_its_first_line(rig: Rig) -> None:
    evaluation = rig.measure(kernel='no_such_function("x");')
    assert evaluation.status is Status.COMPILE
    assert "error" in evaluation.detail and "no_such_function" in evaluation.detail
    assert "\n" not in evaluation.detail
    assert "no_such_function" in evaluation.log
    assert rig.works(new=True)


def test_a_source_without_the_launcher_fails_at_its_launch(rig: Rig) -> None:
    """A template is refused for it; a candidate's text may come from elsewhere."""
    sound = injected.candidate(rig.root / "template_without")
    evaluation = rig.measure_candidate(Candidate(sound.text.replace("int scale(", "int scaled(")))
    assert evaluation.status is Status.LAUNCH and "scale" in evaluation.detail
    assert rig.works()


@pytest.mark.parametrize(
    ("top", "status", "says"),
    [
        ("raise ValueError('at the top')", Status.COMPILE, "ValueError: at the top"),
        ("raise SystemExit(0)", Status.COMPILE, "SystemExit"),
        ("raise KeyboardInterrupt", Status.COMPILE, "KeyboardInterrupt"),
        ("os._exit(3)", Status.COMPILE, "exited with code 3"),
        ("os.kill(os.getpid(), 9)", Status.COMPILE, "was ended by SIGKILL"),
        ("raise RuntimeError('half \\udcff a pair')", Status.COMPILE, "half ? a pair"),
    ],
)
def test_a_candidate_that_breaks_when_loaded(rig: Rig, top: str, status: Status, says: str) -> None:
    evaluation = rig.measure(top=top)
    assert (evaluation.status, says in evaluation.detail) == (status, True), evaluation.detail
    Evaluation.model_validate_json(evaluation.model_dump_json())  # so the ledger can hold it
    assert rig.works()


def compiler(folder: Path, script: str) -> str:
    path = folder / "c++"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.timeout(120)
def test_a_hung_compiler_is_killed_with_what_it_started(own_rig: MakeRig, tmp_path: Path) -> None:
    """The C++ compiler starts a grandchild and neither ever ends."""
    pids = tmp_path / "pids"
    hung = compiler(
        tmp_path, f'case "$*" in *main.cpp*) sleep 600 & echo $! $$ >> {pids}; wait;; *) exec g++ "$@";; esac'
    )
    rig = own_rig(compile_timeout_s=6, CXX=hung)
    evaluation = rig.measure()
    assert evaluation.status is Status.TIMEOUT
    assert evaluation.detail.startswith("the compiler gave no answer within 6 s")
    assert gone_within(10, *map(int, pids.read_text().split()))
    Path(hung).write_text('#!/bin/sh\nexec g++ "$@"\n')
    assert rig.works()


def test_a_compiler_that_fails_or_is_missing_is_a_compile_fault(own_rig: MakeRig, tmp_path: Path) -> None:
    broken = compiler(
        tmp_path, 'case "$*" in *main.cpp*) echo "cc1plus: fatal error: it broke" >&2; exit 4;; *) exec g++ "$@";; esac'
    )
    rig = own_rig(CXX=broken)
    evaluation = rig.measure()
    assert evaluation.status is Status.COMPILE and "it broke" in evaluation.detail
    Path(broken).unlink()
    assert rig.measure(kernel="// another").status is Status.COMPILE
    compiler(tmp_path, 'exec g++ "$@"')
    assert rig.works()


@pytest.mark.timeout(120)
def test_a_lock_that_a_killed_build_left_is_not_waited_for(own_rig: MakeRig) -> None:
    """PyTorch's own lock, in the folder where it would look, and in that of a build which was killed."""
    rig = own_rig(compile_timeout_s=NEVER_S)
    candidate = injected.candidate(rig.root / "template")
    name = _library_name(rig, candidate)
    root = rig.folder / "extensions"
    for folder in (root / name, root / f"{name}.abcdefgh"):
        folder.mkdir(parents=True)
        (folder / "lock").touch()
    rig.pipeline.submit(1, candidate)
    assert rig.pipeline.next()[2].status is Status.OK


def _library_name(rig: Rig, candidate: Candidate) -> str:
    """What the candidate calls its library: asked of it, with the build cut off."""
    path = rig.folder / "asked.py"
    path.write_text(candidate.text)
    names: list[str] = []

    class Enough(Exception):
        pass

    def stop(name: str, **options: Any) -> None:
        names.append(name)
        raise Enough

    (rig.folder / "asked").mkdir()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cpp_extension, "load_inline", stop)
        patched.setenv("TORCH_EXTENSIONS_DIR", str(rig.folder / "asked"))
        with pytest.raises(Enough):
            execute(path, "asked").preload()
    return names[0]


@pytest.mark.parametrize("left", [0, 100, 5000])
def test_a_library_cut_short_ends_no_more_than_its_trial(own_rig: MakeRig, left: int) -> None:
    """Loading one may raise, or end the process by SIGBUS: never the main one."""
    rig = own_rig()
    candidate = injected.candidate(rig.root / "template")
    rig.pipeline.submit(1, candidate)
    assert rig.pipeline.next()[2].status is Status.OK
    (library,) = (rig.folder / "extensions").glob("*/*.so")
    whole = library.read_bytes()
    library.unlink()  # who has it loaded keeps the old one
    library.write_bytes(whole[:left])
    rig.compilers.workers[0].stop()
    rig.pipeline.submit(2, candidate)
    assert rig.pipeline.next()[2].status is Status.COMPILE
    rig.lane.bench.stop()
    evaluation = rig.lane.measure(candidate_path(rig.folder, candidate), candidate.sha256, None, 0.0)
    assert evaluation.status in (Status.LOAD, Status.CRASH), evaluation
    assert rig.works()


def test_what_was_begun_ahead_is_compiled_once(rig: Rig) -> None:
    candidate = injected.candidate(rig.root / "template")
    rig.compilers.begin(candidate, rig.folder, rig.pipeline.job)
    (begun,) = rig.compilers.ahead.values()
    assert rig.pipeline.submit(1, candidate).build is begun
    assert rig.pipeline.next()[2].status is Status.OK
    assert rig.pipeline.submit(2, candidate).build is not begun
    assert rig.pipeline.next()[2].status is Status.OK


# ---- faults of running -----------------------------------------------------------------------------

FAULTS = {
    "illegal access": ({"kernel": "*(volatile int*)8 = 1;"}, Status.CRASH, "SIGSEGV while in launch"),
    "abort": ({"kernel": "abort();"}, Status.CRASH, "SIGABRT while in launch"),
    "C++ exception": ({"kernel": "throw 1;"}, Status.CRASH, "SIGABRT while in launch"),
    "endless kernel": ({"kernel": "for (volatile int i = 0;; i = 1) {}"}, Status.TIMEOUT, "within 4 s while in launch"),
    "killed": ({"host": "os.kill(os.getpid(), 9)"}, Status.CRASH, "SIGKILL while in launch"),
    "os._exit": ({"host": "os._exit(5)"}, Status.CRASH, "exited with code 5 while in launch"),
    "C exit": ({"kernel": "_exit(0);"}, Status.CRASH, "exited with code 0 while in launch"),
    "raises": ({"host": "raise ValueError('no')"}, Status.LAUNCH, "ValueError: no"),
    "SystemExit": ({"host": "raise SystemExit(1)"}, Status.LAUNCH, "SystemExit: 1"),
    "KeyboardInterrupt": ({"host": "raise KeyboardInterrupt"}, Status.LAUNCH, "KeyboardInterrupt"),
    "launcher's error": ({"kernel": "return 9;"}, Status.LAUNCH, "scale failed: failed (error 9)"),
    "out of memory": ({"host": "torch.empty(2**50)"}, Status.LAUNCH, "memory"),
    "bad_alloc": ({"kernel": "volatile long n_ = 1L << 60; out[0] = *new char[n_];"}, Status.CRASH, "SIGABRT"),
    "stack overflow": ({"host": "def deeper(): return deeper()\n    deeper()"}, Status.LAUNCH, "RecursionError"),
    "closes every file": ({"host": "os.closerange(3, 4096)"}, Status.CRASH, "while in launch"),
    "wrong": ({"kernel": "for (int i = 0; i < n * c; i++) out[i] = 1; return 0;"}, Status.VERIFY, "case "),
    "writes nothing": ({"kernel": "return 0;"}, Status.VERIFY, "case "),
    "NaN": ({"kernel": "for (int i = 0; i < n * c; i++) out[i] = NAN; return 0;"}, Status.VERIFY, "case "),
    "a megabyte on stdout": ({"host": "print('x' * 2**20)"}, Status.OK, ""),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_costs_its_own_trial_alone(rig: Rig, name: str) -> None:
    faults, status, says = FAULTS[name]
    evaluation = rig.measure(**faults)
    assert (evaluation.status, says in evaluation.detail) == (status, True), evaluation
    assert (evaluation.performance is None) == (status is not Status.OK)
    assert rig.works()


def test_after_a_crash_the_process_is_another_one(rig: Rig) -> None:
    assert rig.works()
    before = rig.lane.bench.started
    rig.measure(kernel="abort(); // again")
    assert rig.lane.bench.pid is None  # nor does one of a CPU outlive its trial
    assert rig.works() and rig.lane.bench.started == before + 2


def test_every_trial_on_a_cpu_has_a_process_of_its_own(rig: Rig) -> None:
    assert rig.works()
    before = rig.lane.bench.started
    assert rig.works() and rig.works()
    assert rig.lane.bench.started == before + 2


def test_where_processes_go_on_one_that_is_not_as_it_was_is_replaced(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where a process is dear."""
    monkeypatch.setattr(type(rig.lane.backend), "fresh_benches", False)
    assert rig.works()
    bench, before = rig.lane.bench, rig.lane.bench.started
    assert rig.works() and bench.started == before
    evaluation = rig.measure(host="torch.set_default_dtype(torch.float64)")
    assert evaluation.status is not Status.OK and bench.process is None
    assert rig.works() and bench.started == before + 1


def test_a_worker_killed_between_two_trials_goes_unnoticed(rig: Rig) -> None:
    assert rig.works()
    rig.lane.bench.start()
    for process in (rig.lane.bench.process, rig.compilers.workers[0].process):
        assert process is not None and process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert rig.works()


# ---- the reference itself --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forward", "error", "says"),
    [
        ("import os; os.abort()", DeviceError, "cpu: the reference could not be run: .*SIGABRT"),
        ("raise ValueError('no such shape')", ProblemError, "Model refuses inputs of shapes .*: no such shape"),
    ],
)
def test_a_reference_that_cannot_be_run_is_one_line(
    tmp_path: Path, forward: str, error: type[TunerError], says: str
) -> None:
    text = TINY["problem.py"].replace("        return x", f"        {forward}\n        return x")
    problem = injected.write(tmp_path / "template", **{"problem.py": text}) / "problem.py"
    lane = Lane(injected.job(problem), tmp_path)
    try:
        with pytest.raises(error, match=says):
            lane.describe()
    finally:
        lane.close()


# ---- order, and the end ----------------------------------------------------------------------------


class InstantLane(Lane):
    """Stands for a device that is busy elsewhere: measures nothing, remembers the order."""

    order: tuple[str, ...] = ()

    def measure(
        self, path: Path, sha256: str, best_ms: float | None, floor_ms: float, leaves: tuple[str, ...] = ()
    ) -> Evaluation:
        self.order += (sha256,)
        return Evaluation(status=Status.VERIFY, detail="not measured")


@pytest.mark.slow
def test_results_come_in_order_as_far_as_they_are_ready(tmp_path: Path) -> None:
    problem = injected.write(tmp_path / "sound") / "problem.py"
    folder = tmp_path / "run"
    folder.mkdir()
    made = replace(injected.job(problem), torch_device="cuda:0")  # a device that compiling does not disturb
    lane = InstantLane(made, folder)
    compilers = Compilers(2, made.environment, made.torch_device)
    pipeline = Pipeline(made, lane, folder, 0.0, compilers)
    try:
        assert pipeline.capacity == 4
        candidates = [injected.candidate(tmp_path / f"t{i}", kernel=f"// {i}") for i in range(4)]
        for number, candidate in enumerate(candidates):
            pipeline.submit(number, candidate)
        for each in pipeline.under_way.values():
            each.build.result()
        assert [pipeline.next()[0] for _ in candidates] == [0, 1, 2, 3]
        assert lane.order == tuple(c.sha256 for c in candidates)
    finally:
        pipeline.close()
        compilers.close()
        lane.close()


@pytest.mark.timeout(120)
def test_closing_waits_for_no_compiler(own_rig: MakeRig, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    hung = compiler(tmp_path, f'case "$*" in *main.cpp*) echo $$ > {pids}; sleep 600;; *) exec g++ "$@";; esac')
    rig = own_rig(compile_timeout_s=NEVER_S, CXX=hung)
    rig.pipeline.submit(1, injected.candidate(rig.root / "template"))
    build = rig.pipeline.under_way[1].build
    compiling = int(written(pids, lambda: not build.done()))
    rig.pipeline.close()
    assert gone_within(10, compiling)


def test_a_build_that_failed_on_a_full_disk_is_no_trial(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(DeviceError, match="no space left to build in"):
        rig.measure(kernel="#error full")
    monkeypatch.undo()
    assert rig.works()
