"""Calls between processes, typed on both sides.

A service is what a worker process runs. Its requests are frozen dataclasses: the main process
sends one, the worker calls `run` with its service, and what that returns comes back. The type of
the answer is the return annotation of `run`, so mypy checks the caller and the service alike.

Down the pipe go pickles: the main process is trusted. Up it come lines of JSON, never pickles: a
candidate may have written them. Each carries the id of its request.
"""

from __future__ import annotations

import functools
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter

from tuner import errors

ServiceT = TypeVar("ServiceT")
ServiceT_contra = TypeVar("ServiceT_contra", contravariant=True)
ServiceT_co = TypeVar("ServiceT_co", covariant=True)
AnswerT = TypeVar("AnswerT")
AnswerT_co = TypeVar("AnswerT_co", covariant=True)

Report = Callable[[str], None]  # tells the main process what the worker is about to do


class Request(ABC, Generic[ServiceT_contra, AnswerT_co]):
    """One call of a service's method. Subclasses are frozen dataclasses of plain values."""

    @abstractmethod
    def run(self, service: ServiceT_contra) -> AnswerT_co:
        """Called in the worker."""


class Opening(ABC, Generic[ServiceT_co]):
    """What a service is made from. Subclasses are frozen dataclasses; `open` imports what is heavy."""

    @property
    def subject(self) -> str:
        """The file that is at fault when the process ends; "" where that says nothing, as of a candidate's."""
        return ""

    @abstractmethod
    def open(self, report: Report) -> ServiceT_co:
        """Called in the worker, at its first request."""


@functools.cache
def answer_type(kind: type[Request[Any, Any]]) -> TypeAdapter[Any]:
    """How an answer to this kind of request is written and read: by the annotation of `run`."""
    return TypeAdapter(typing.get_type_hints(kind.run)["return"])


class Line(BaseModel):
    """What a worker sends up. The kind decides what `text` is."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: int
    kind: Literal["phase", "answer", "fault", "bug"]
    text: str  # a phase's name, an answer as JSON, a fault's message, a bug's traceback
    fault: str = ""  # of a fault: the name of its class in tuner.errors


def fault_kind(error: errors.TunerError) -> str:
    """The name of the nearest class of `error` that the main process knows."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__)


def fault(name: str, text: str) -> errors.TunerError:
    """The fault that a worker told. Raises ValueError for a name that is no fault's."""
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, errors.TunerError)):
        raise ValueError(f"{name[:60]!r} is no kind of fault")
    return kind(text)
