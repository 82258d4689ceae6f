from __future__ import annotations

from pathlib import Path

import pytest
from helpers.configs import WriteConfig


@pytest.fixture
def config(tmp_path: Path) -> WriteConfig:
    """Write a config and return its path."""

    def write(text: str | bytes) -> Path:
        path = tmp_path / "config.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write
