"""Workers that are started on this host for a command's time."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest

pytest.importorskip("distributed")

import dask
from helpers.crew import Sleepers

pytestmark = pytest.mark.slow


def test_a_worker_that_is_long_in_starting_again_comes_back() -> None:
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "100ms"}), Sleepers("cpu:0-0") as sleepers:
        (killed,) = sleepers.pids().values()
        os.kill(killed, signal.SIGKILL)
        end = time.monotonic() + 60
        found: set[int] = set()
        while not found - {killed}:
            assert time.monotonic() < end, "nobody came"
            with contextlib.suppress(Exception):  # there may be nobody to ask
                found = set(sleepers.pids().values())
            time.sleep(0.1)
