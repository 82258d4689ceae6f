"""An entry counts when its template renders the very text from its record."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.cache import Change, edit, newer, only
from helpers.tiny import MakeRecord, Put, changed, text_of

from tuner import store
from tuner.template import Template, render


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v["point"]["knobs"].update(unroll=8),
        lambda v: v["point"]["knobs"].update(unroll=3),
        lambda v: v["point"]["knobs"].update(fast=1),
        lambda v: v["point"]["knobs"].update(extra=1),
        lambda v: v["point"]["knobs"].pop("unroll"),
        lambda v: v["point"]["knobs"].update(order="rows\n#error"),
    ],
)
def test_a_record_with_other_knobs_is_moved_away_before_its_text_is_used(
    root: Path, put: Put, tiny: Template, change: Change
) -> None:
    put(root)
    edit(only(root), change)
    entry = only(root)
    with pytest.raises(store.CorruptEntry, match="moved to"):
        store.load_checked(entry, tiny)
    assert store.entries(root) == []


def test_text_and_record_altered_together_do_not_get_through(root: Path, put: Put, tiny: Template) -> None:
    put(root)
    entry = only(root)
    evil = entry.text + "import os\n"
    (entry.folder / store.TEXT).write_text(evil)
    edit(entry, lambda v: v.update(candidate_sha256=render.Candidate(evil).sha256))
    with pytest.raises(store.CorruptEntry, match="is not what the template renders"):
        store.load_checked(only(root), tiny)


def test_a_device_name_cannot_carry_code_into_the_text(root: Path, make_record: MakeRecord, tiny: Template) -> None:
    """The name stands in the candidate's docstring; its slug hides what else it holds."""
    record = make_record(device_name='Test CPU"""\nprint()\n"""')
    text = text_of(tiny, record).text
    store.put(root, changed(record, candidate_sha256=render.Candidate(text).sha256), text)
    with pytest.raises(store.CorruptEntry, match="device_name is not a device's name"):
        store.load_checked(only(root), tiny)


def test_a_changed_template_is_a_miss_that_names_the_digest_and_moves_nothing(
    root: Path, put: Put, tiny: Template, tiny_folder: Path
) -> None:
    put(root)
    newer(tiny_folder)
    with pytest.raises(store.StaleEntry, match="template_digest differs"):
        store.load_checked(only(root), tiny)
    assert len(store.entries(root)) == 1
