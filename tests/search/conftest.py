"""Opening a search on a study in a temporary folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.searching import ONE

from tuner.search.ledger import Ledger
from tuner.search.loop import Search
from tuner.space import Space


@pytest.fixture
def open_search(tmp_path: Path) -> Callable[..., Search]:
    def open_search(
        space: Space = ONE, kind: str = "gaussian", seed: int = 0, name: str = "study", stored: bool = True
    ) -> Search:
        storage = tmp_path / f"{name}.sqlite3" if stored else None
        return Search(space, kind, seed, storage, name, Ledger(tmp_path / f"{name}.jsonl"))

    return open_search
