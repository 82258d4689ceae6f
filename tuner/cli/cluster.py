"""`tuner search --cluster`: what a person sees of searches on the workers of a cluster."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

from rich.console import Console

from tuner.cli import devices
from tuner.cli.configs import Given
from tuner.cli.devices import Devices
from tuner.cli.events import Events
from tuner.errors import ConfigError
from tuner.search.tune import Outcome, asked
from tuner.settings import Settings, cache_root, resolve

WORKERS_WITHIN_S = 60.0


def searched(
    address: str,
    loaded: Sequence[tuple[Given, Settings]],
    console: Console,
    events: Events,
    tell: Callable[[str], None],
    fresh: bool,
    replace_faster: bool,
) -> Iterator[tuple[Given, Outcome]]:
    """Every search of the configs on the workers of a cluster, each with its config, as each is done.

    Raises ConfigError and DeviceError for what a cluster cannot be asked, and like `devices.searched`.
    """
    if importlib.util.find_spec("distributed") is None:
        raise ConfigError("--cluster: wants Dask's distributed: pip install 'tuner[cluster]'")
    from tuner.cluster import connect
    from tuner.cluster.searches import Searches
    from tuner.cluster.workers import Workers

    local = address == connect.LOCAL
    for _, one in loaded if not local else ():
        _require_for_cluster(one)
    here = list(dict.fromkeys(device for _, one in loaded for device in resolve.devices(one))) if local else []
    began = time.monotonic()
    with (
        connect.connected(address, here, tell) as client,
        Devices(console, events) as view,
        closing(Workers(client, view.note)) as workers,
    ):
        tell("asking the workers what they hold")
        workers.gather(WORKERS_WITHIN_S)
        wanted, given_as = [], {}
        for given, one in loaded:
            for line in given.plan:
                tell(line)
            with one.blame("device"):
                kinds = workers.kinds("auto" if local else one.device)
            kernel = resolve.checked_template(one)
            built_for = {variant.device for variant in kernel.variants}
            kinds = {kind: each for kind, each in kinds.items() if each.device_kind in built_for} or kinds
            names = [environment.device_kind for environment in kinds.values()]
            for each in asked(one, kernel, cache_root(given.config, one.template), names, builds_here=False):
                wanted.append((each, kinds))
                given_as[id(each)] = given
        searches = Searches(workers, wanted, view, fresh, replace_faster)
        yield from devices.told(searches, view, given_as)
        view.note("", f"all searches took {time.monotonic() - began:.0f} s")


def _require_for_cluster(one: Settings) -> None:
    if one.devices is not None:
        raise ConfigError(f"{one.place('devices')}: names devices of this host; beside --cluster ADDRESS leave it out")
    if one.device not in ("auto", "cuda", "cpu"):
        raise ConfigError(f"{one.place('device')}: beside --cluster it is auto, cuda or cpu, not {one.device}")
