"""Reaching a cluster: a scheduler's address, or workers that are started on this host for a command's time."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence

import dask
import distributed

from tuner import backends
from tuner.cluster.worker import DEVICE_VARIABLE
from tuner.errors import ConfigError, DeviceError

LOCAL = "local"
ADDRESS = re.compile(r"(tcp|tls|ws|wss)://[^/\s:]+:[0-9]{1,5}")
WITHIN_S = 10.0
LOG_LENGTH = 100  # of Dask's own logs: that of what was sent holds whole candidates
LOOPBACK = "127.0.0.1"
LOST_AFTER = "1h"
# Run by each local worker: a Ctrl-C in the terminal reaches it, too, and is the command's to handle.
UNDISTURBED = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"


@contextlib.contextmanager
def connected(address: str, devices: Sequence[str], say: Callable[[str], None]) -> Iterator[distributed.Client]:
    """A client of the scheduler at `address`; of `local` with a worker for each of `devices` of this host.

    Raises ConfigError for what is no address, DeviceError when nobody answers there.
    """
    for name in ("distributed", "distributed.client"):  # what matters is said by whoever it matters to
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if address != LOCAL and ADDRESS.fullmatch(address) is None:
        raise ConfigError(f"--cluster: {address!r} is none of local, tcp://HOST:PORT and tls://HOST:PORT")
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set({"distributed.admin.low-level-log-length": LOG_LENGTH}))
        if address == LOCAL:
            say(f"starting workers for {', '.join(devices)}")
            place: str | distributed.SpecCluster = stack.enter_context(local(devices))
        else:
            _require_certificates(address)
            say(f"connecting to {address}")
            place = address
        try:
            client = distributed.Client(place, timeout=WITHIN_S, set_as_default=False)
        except (OSError, TimeoutError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise DeviceError(
                f"--cluster: {address}: no scheduler answers within {WITHIN_S:g} s: {reason[0]}"
            ) from None
        with client:
            yield client


def _require_certificates(address: str) -> None:
    """Raise ConfigError where TLS is wanted and Dask's configuration has no certificates for it, or wrong ones."""
    names = "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and …__CLIENT__KEY"
    try:
        found = distributed.Security().get_connection_args("client").get("ssl_context")
    except OSError as error:
        raise ConfigError(f"--cluster: the certificates that {names} name cannot be used: {error}") from None
    if address.startswith("tls:") and found is None:
        raise ConfigError(f"--cluster: {address} wants certificates: set {names}, or Dask's configuration")


@contextlib.contextmanager
def local(devices: Sequence[str]) -> Iterator[distributed.SpecCluster]:
    """A scheduler and a worker for each of these devices, on this host and for this host alone."""
    scheduler = {
        "cls": distributed.Scheduler,
        "options": {"host": LOOPBACK, "port": 0, "dashboard": False, "dashboard_address": f"{LOOPBACK}:0"},
    }
    workers = {
        number: {
            "cls": distributed.Nanny,
            "options": {
                "host": LOOPBACK,
                "nthreads": 1 + backends.of(device).compile_processes(),
                "memory_limit": 0,
                "dashboard_address": f"{LOOPBACK}:0",
                "preload": [UNDISTURBED],
                "env": {DEVICE_VARIABLE: device},
            },
        }
        for number, device in enumerate(devices)
    }
    kept = {
        "distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical",
        # One that has been away for so long is closed for good, in the middle of being started again on a busy host.
        "distributed.deploy.lost-worker-timeout": LOST_AFTER,
    }
    with (
        dask.config.set(kept),
        distributed.SpecCluster(workers, scheduler=scheduler, silence_logs=logging.CRITICAL) as cluster,
    ):
        yield cluster
