"""What a person sees while a search runs, and what came of it."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.live import Live
from rich.text import Text

from tuner.records import Environment, Performance, Trial, Workload
from tuner.screen.pulse import Pulse, lasting
from tuner.screen.tables import shapes, table
from tuner.search.progress import Progress
from tuner.search.tune import Outcome
from tuner.space import Space

LASTED_S = 2.0  # a stage that took so long has its time said


class Screen:
    """Implements `tune.Observer`: a live line on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console, template: str) -> None:
        self.console, self.template = console, template
        self.live: Live | None = None
        self.eager_ms: float | None = None
        self._best = ""
        self._unsaid = ""  # how far it is, to be said where there is no terminal once there was silence
        self._stage = ""  # until a trial has ended, and again in the final
        self.pulse = Pulse(self._still)

    def __enter__(self) -> Screen:
        if self.console.is_terminal:
            self.live = Live(console=self.console, refresh_per_second=4, transient=True)
            self.live.start()
        self.pulse.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.pulse.stop()
        if self.live is not None:
            self.live.stop()

    def _line(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)
        self.pulse.heard()

    def _still(self, doing: str, seconds: float) -> None:
        """What is done has been done for so long and nothing else was said."""
        if self.is_live:
            self._show(f"{doing} … {seconds:.0f} s")
        elif self._unsaid:
            line, self._unsaid = self._unsaid, ""
            self._line(line)
        else:
            self._line(lasting(doing, seconds))

    @property
    def is_live(self) -> bool:
        """Whether there is a line that changes, on a terminal."""
        return self.live is not None

    def _show(self, text: str) -> None:
        """Change that line."""
        if self.live is not None:
            self.live.update(Text(text))

    def stage(self, text: str) -> None:
        took = self.pulse.seconds
        if self._stage and took >= LASTED_S:
            self._line(f"  {self._stage}: took {took:.0f} s")
        self._stage, self._unsaid = text, ""
        self.pulse.begin(text)
        if self.is_live:
            self._show(f"{text} …")
        else:
            self._line(text)

    def workload(self, workload: Workload, space: Space, environment: Environment) -> None:
        variants = ", ".join(f"{b.variant} ({len(b)} points)" for b in space.branches)
        self.eager_ms, self._best = None, ""
        self._line(f"{self.template}  {shapes(workload)} {workload.dtype_names}, precision {workload.precision}")
        self._line(f"on {environment.device_name}, PyTorch {environment.torch}: {variants}")

    def eager(self, performance: Performance) -> None:
        self.eager_ms = performance.latency_ms
        self._line(f"eager takes {self.eager_ms:.4g} ms")

    def progress(self, progress: Progress) -> None:
        line = self._progress_line(progress)
        self._stage = ""
        best = str(progress.best.point) if progress.best else ""
        if self.is_live:
            self.pulse.begin(line)
            self._show(f"{line}\n  {best}")
            return
        self.pulse.begin(f"trial {len(progress.trials) + 1}/{progress.budget.trials}")
        if best != self._best:
            self._best, self._unsaid = best, ""
            self._line(f"{line}  [{best}]")
        else:
            self._unsaid = line

    def _progress_line(self, progress: Progress) -> str:
        done, budget = len(progress.trials), progress.budget
        parts = [f"{done}/{budget.trials} trials"]
        if progress.best is not None:
            best_ms = progress.best.evaluation.latency_ms
            speedup = f" ({self.eager_ms / best_ms:.2f}x eager)" if self.eager_ms else ""
            parts.append(f"best {best_ms:.4g} ms{speedup}")
        fresh, elapsed = done - progress.resumed, max(progress.elapsed_s, 1e-9)
        parts.append(f"{fresh / elapsed * 60:.0f}/min")
        if progress.failures:
            parts.append("failed: " + ", ".join(f"{phase} {n}" for phase, n in sorted(progress.failures.items())))
        left = (budget.trials - done) * elapsed / max(fresh, 1)
        if budget.time_s is not None:
            left = min(left, max(0.0, budget.time_s - elapsed))
        parts.append(f"{left // 60:.0f}:{left % 60:02.0f} left")
        return "  ".join(parts)

    def final(self, done: int, total: int) -> None:
        text = f"final: {done}/{total} samples each"
        if self.is_live:
            self.pulse.begin(text)
            self._show(f"{text} …")
        else:
            self._unsaid = text

    def outcome(self, outcome: Outcome) -> None:
        """The table of one finished workload."""
        self._stage = self._unsaid = ""
        self.pulse.begin("")
        progress, record = outcome.progress, outcome.record
        if progress.resumed:
            self._line(f"took over {progress.resumed} trials of other runs")
        measured = len(progress.trials) - progress.resumed
        failed = ", ".join(f"{phase} {n}" for phase, n in sorted(progress.failures.items())) or "none"
        measured_in = f"{measured} trials measured in {progress.elapsed_s:.0f} s"
        self._line(f"stopped: {progress.why_stopped}; {measured_in}; failed: {failed}")
        for rule, count in sorted(progress.rejected.items()):
            self._line(f"  constraint {rule} rejected {count}")
        for note in outcome.notes:
            self._line(f"  note: {note}")
        if record is None:
            if not progress.trials:
                self._line("nothing was measured yet")
                return
            for said, count in Counter(_said(trial) for trial in progress.trials).most_common(3):
                self._line(f"  {count} x {said}")
            self._line(f"no right kernel was found; the ledger of trials has every log: {outcome.ledger}")
            return
        rows = table(record)
        rows.width = Console(width=200).measure(rows).maximum  # a narrow terminal wraps it; no digit is cut off
        self.console.print(rows, crop=False, soft_wrap=True)
        if faster := [each.name for each in record.baselines if each.speedup_high < 1]:
            self._line(f"  note: the winner is slower than {' and '.join(faster)}")
        self._line(f"knobs: {record.point}")
        verdict = "cached" if outcome.stored else "not cached (a better result stands there)"
        if outcome.stored and not record.confirmed:
            verdict = "cached, unconfirmed (the same search again goes on from here)"
        self._line(f"{verdict}: {outcome.folder}")


def _said(trial: Trial) -> str:
    """How a trial ended, in the words that all that ended so share."""
    return f"{trial.evaluation.status.value}: {trial.evaluation.detail[:200]}"
