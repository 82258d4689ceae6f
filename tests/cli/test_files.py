"""`tuner export` and `tuner verify`."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.project import Project


@pytest.mark.slow
@pytest.mark.usefixtures("needs_compiler")
def test_an_altered_entry_is_quarantined_and_never_executed(searched: Project, tmp_path: Path) -> None:
    entry = searched.entry()
    mark = tmp_path / "executed"
    (entry.folder / "model_new.py").write_text(f"open({str(mark)!r}, 'w')\n{entry.text}")
    code, _, err = searched.run("export", "tiny.yaml", "-o", "out.py", "--force")
    assert code == 2 and err.count("\n") == 1 and "was moved to" in err
    assert not mark.exists() and not (searched.root / "out.py").exists()
    assert list((searched.cache / ".quarantine").iterdir())
    code, _, err = searched.run("export", "tiny.yaml", "-o", "out.py", "--force")
    assert code == 2 and "run `tuner search` first" in err
    assert searched.run("search", "tiny.yaml")[0] == 0  # the control: it is found anew
    searched.entry()
