"""What happens in a search as lines of JSON, for a program: `--events FILE`."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from tuner.errors import ConfigError
from tuner.records import Environment, Performance, Workload
from tuner.search.observer import Observer
from tuner.search.progress import Progress
from tuner.search.tune import Outcome
from tuner.space import Space


class Events:
    """Writes one object a line, at once, each with `event` and `seconds` since the start. Without a file, nothing."""

    def __init__(self, path: Path | None) -> None:
        self.began, self.lock = time.monotonic(), threading.Lock()
        self.file: TextIO | None = None
        if path is not None:
            try:
                self.file = path.open("a", encoding="utf-8", buffering=1)
            except OSError as error:
                raise ConfigError(f"--events: {path}: cannot be written: {error.strerror}") from None

    def say(self, event: str, **values: Any) -> None:
        if self.file is None:
            return
        line = {"event": event, "seconds": round(time.monotonic() - self.began, 3), **values}
        with self.lock:
            self.file.write(json.dumps(line) + "\n")

    def beside(self, device: str, search: str, shown: Observer) -> Observer:
        """An observer that tells a program what it shows a person."""
        return shown if self.file is None else _Told(self, device, search, shown)

    def outcome(self, device: str, search: str, outcome: Outcome) -> None:
        self.say(
            "outcome",
            device=device,
            search=search,
            stopped=outcome.progress.stopped,
            trials=len(outcome.progress.trials),
            search_s=outcome.progress.elapsed_s,
            stored=outcome.stored,
            record=None if outcome.record is None else outcome.record.model_dump(mode="json"),
        )

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


class _Told:
    """Implements `search.Observer`."""

    def __init__(self, events: Events, device: str, search: str, shown: Observer) -> None:
        self.events, self.shown, self.about = events, shown, {"device": device, "search": search}

    def stage(self, text: str) -> None:
        self.events.say("stage", **self.about, text=text)
        self.shown.stage(text)

    def workload(self, workload: Workload, space: Space, environment: Environment) -> None:
        about = {"workload": workload.model_dump(mode="json"), "environment": environment.model_dump(mode="json")}
        self.events.say("search", **self.about, **about)
        self.shown.workload(workload, space, environment)

    def eager(self, performance: Performance) -> None:
        self.events.say("eager", **self.about, latency_ms=performance.latency_ms)
        self.shown.eager(performance)

    def progress(self, progress: Progress) -> None:
        trial = progress.trials[-1]
        ok = trial.evaluation.performance is not None
        self.events.say(
            "trial",
            **self.about,
            trials=len(progress.trials),
            of=progress.budget.trials,
            point=str(trial.point),
            status=trial.evaluation.status.value,
            latency_ms=trial.evaluation.latency_ms if ok else None,
            best_ms=progress.best_ms,
        )
        self.shown.progress(progress)

    def final(self, done: int, total: int) -> None:
        self.events.say("final", **self.about, samples=done, of=total)
        self.shown.final(done, total)
