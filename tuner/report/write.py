"""The page: everything in one file, nothing fetched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from tuner import __version__
from tuner.errors import ConfigError
from tuner.report.contest import contest
from tuner.report.course import course
from tuner.report.figure import Figure, Section, as_json, require_plotly
from tuner.report.knobs import knobs
from tuner.report.many import Row, overview, suite
from tuner.report.verdict import cases, shapes, source, verdict
from tuner.results import Searched


def write(output: Path, searches: Sequence[Searched], suites: Sequence[tuple[str, Sequence[Row]]] = ()) -> None:
    """Write the report of searches and of suites' rows by name. Raises ConfigError without plotly."""
    output.write_text(html(searches, suites), encoding="utf-8")


def html(searches: Sequence[Searched], suites: Sequence[tuple[str, Sequence[Row]]] = ()) -> str:
    """The page as text. Raises ConfigError where plotly is missing."""
    require_plotly()
    from plotly.offline import get_plotlyjs

    page = _Page()
    anchors = [f"s{i}" for i in range(len(searches))]
    if len(searches) > 1:
        page.part("All searches", "overview", overview(searches, anchors), level=1)
    for name, rows in suites:
        page.part(f"Suite {name}", f"suite-{len(page.parts)}", suite(rows), level=1)
    for searched, anchor in zip(searches, anchors, strict=True):
        title = f"{searched.template} {shapes(searched.workload)}"
        page.part(title, anchor, _of(searched), level=1, below=_below(searched))
    title = page.titles[0] if len(page.titles) == 1 else "tuner report"
    here = resources.files("tuner.report")
    values = {
        "TITLE": escape(title),
        "STYLE": here.joinpath("page.css").read_text(encoding="utf-8"),
        "SCRIPT": here.joinpath("page.js").read_text(encoding="utf-8"),
        "PLOTLY": get_plotlyjs(),
        "BODY": "".join(page.parts),
        "FIGURES": f"{{{','.join(page.figures)}}}",
        "VERSION": escape(__version__),
    }
    text = here.joinpath("page.html").read_text(encoding="utf-8")
    before, *rest = text.split("@@")
    return before + "".join(values[part] if i % 2 == 0 else part for i, part in enumerate(rest))


def _of(searched: Searched) -> list[Section]:
    judged = cases(searched)
    return [
        verdict(searched),
        *course(searched),
        *knobs(searched),
        *contest(searched),
        *([judged] if judged else []),
        source(searched),
    ]


def _below(searched: Searched) -> str:
    workload, environment = searched.workload, searched.environment
    parts = [f"{workload.dtype_names}, precision {workload.precision}" if workload else ""]
    parts.append(f"on {environment.device_name}" if environment else "")
    return ", ".join(part for part in (*parts, f"search {searched.name}") if part)


class _Page:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self.figures: list[str] = []
        self.titles: list[str] = []

    def part(self, title: str, anchor: str, sections: Sequence[Section], level: int, below: str = "") -> None:
        self.titles.append(title)
        line = f'<p class="below">{escape(below)}</p>' if below else ""
        inner = "".join(self._section(section) for section in sections)
        self.parts.append(f'<article id="{anchor}"><h{level}>{escape(title)}</h{level}>{line}{inner}</article>')

    def _section(self, section: Section) -> str:
        figures = "".join(self._figure(figure) for figure in section.figures)
        grid = f'<div class="grid">{figures}</div>' if figures else ""
        sentence = f"<p>{escape(section.sentence)}</p>" if section.sentence else ""
        if section.folded:
            inner = f"{sentence}{section.body}{grid}"
            return f"<section><details><summary><h2>{escape(section.title)}</h2></summary>{inner}</details></section>"
        return f"<section><h2>{escape(section.title)}</h2>{sentence}{section.body}{grid}</section>"

    def _figure(self, figure: Figure) -> str:
        name = f"f{len(self.figures)}"
        self.figures.append(f"{json.dumps(name)}:{as_json(figure)}")
        wide = " wide" if figure.wide else ""
        return (
            f'<figure class="{wide.strip()}"><figcaption>{escape(figure.sentence)}</figcaption>'
            f'<div class="scroll"><div class="plot" id="{name}" style="height:{figure.height}px"></div></div></figure>'
        )


def suite_rows(file: Path) -> Sequence[Row]:
    """The rows of a suite's table in JSON. Raises ConfigError for another file."""
    try:
        value: Any = json.loads(file.read_bytes())
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{file}: is no JSON; a suite's table is what benchmarks/suite.py writes") from None
    rows = value.get("rows") if isinstance(value, dict) else None
    if not isinstance(rows, list) or not all(isinstance(r, dict) and {"problem", "status"} <= r.keys() for r in rows):
        raise ConfigError(f"{file}: has no rows with a problem and a status, as benchmarks/suite.py writes them")
    return rows
