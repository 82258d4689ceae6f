"""What a report is made of: sections with figures. Data and layout are Plotly's, as plain values."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from tuner.errors import ConfigError

Trace = dict[str, Any]
# Readable on light and on dark paper, and apart for those who see few colours.
COLOURS = ("#3b82c4", "#e07b39", "#2f9e6e", "#a95fc0", "#c39a1c", "#d1495b", "#4ba3a8", "#8a8f98")
GREY = "#8a8f98"


@dataclass(frozen=True)
class Figure:
    """One figure and the sentence that says what it shows. `height` in pixels."""

    sentence: str
    traces: Sequence[Trace]
    layout: dict[str, Any]
    height: int = 340
    wide: bool = False  # more than a phone is wide: it scrolls in its own frame


@dataclass(frozen=True)
class Section:
    """A heading, a sentence, then HTML, then figures; `folded` is shut until it is asked for."""

    title: str
    sentence: str = ""
    body: str = ""
    figures: Sequence[Figure] = field(default_factory=tuple)
    folded: bool = False


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis with its title, units in it."""
    made = {"title": {"text": title, "standoff": 12}, "automargin": True, **more}
    return {"minorloglabels": "complete", **made} if more.get("type") == "log" else made


def require_plotly() -> Any:
    """The plotly package. Raises ConfigError where it is not installed."""
    try:
        return importlib.import_module("plotly")
    except ImportError:
        raise ConfigError("tuner report needs plotly: pip install 'tuner[report]'") from None


def as_json(figure: Figure) -> str:
    """Data and layout as Plotly reads them, every property checked by plotly's own classes."""
    objects = importlib.import_module("plotly.graph_objects")
    layout = {"margin": {"l": 8, "r": 8, "t": 8, "b": 8}, "height": figure.height, **figure.layout}
    layout.setdefault("legend", {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"})
    made = objects.Figure(data=list(figure.traces), layout=layout)
    value = json.loads(made.to_json())
    value["layout"].pop("template", None)  # the page has its own, for light and for dark
    return json.dumps(value).replace("</", "<\\/")


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], sortable: bool = False) -> str:
    """A table in HTML; numbers stand to the right. What is HTML already is an `Html`."""
    numeric = [all(_is_number(row[i]) for row in rows) and bool(rows) for i in range(len(headers))]
    kinds = [' class="n"' if number else "" for number in numeric]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(headers, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{_cell(value)}</td>" for value, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    name = ' class="sortable"' if sortable else ""
    return f'<div class="scroll"><table{name}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


class Html(str):
    """Text that is HTML."""


def _cell(value: object) -> str:
    if isinstance(value, Html):
        return value
    if isinstance(value, float):
        return f"{value:.4g}"
    return escape("" if value is None else str(value))


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def ms(value: float) -> str:
    """A time as text."""
    return f"{value:.4g} ms"
