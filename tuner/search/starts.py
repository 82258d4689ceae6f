"""Where a search begins, beside the defaults: with what can be tried without a compiler."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tuner.space import Choice, Point, Space
from tuner.template import Template
from tuner.template.render import host_knobs

NEAREST = 500  # points that are looked at for a valid one


def host_choices(template: Template, space: Space) -> list[Point]:
    """From each default in turn, for each word of a knob that the host alone reads, the nearest valid point with it.

    They tell a library's algorithm, layout or precision, which is most of the time of many problems, and share the
    default's binary: they are measured while others compile.
    """
    rounds = itertools.zip_longest(*(_of(template, space, default) for default in space.defaults))
    return list(dict.fromkeys(point for points in rounds for point in points if point is not None))


def _of(template: Template, space: Space, default: Point) -> Iterator[Point]:
    narrowed = {knob.name: knob.choices for knob in space.branch(default.variant).knobs}
    for knob in host_knobs(template, template.variant(default.variant)):
        for word in narrowed[knob.name] if not knob.ordered else ():
            found = _with(space, default, knob.name, word)
            if found is not None and found != default:
                yield found


def _with(space: Space, default: Point, name: str, word: Choice) -> Point | None:
    start = Point.of(default.variant, default.knobs | {name: word})
    found = space.nearest(start, lambda point: point.variant == default.variant and point.knobs[name] == word, NEAREST)
    return found
