"""The dtypes of a source's floating-point tensors, as far as its text tells."""

from __future__ import annotations

import re

from tuner.template.signatures import Signature, without_comments

OF_ELEMENT = ("float32", "float16", "bfloat16")  # what TUNER_DTYPE may be, one at a time
_OF_POINTERS = {"float*": "float32", "double*": "float64", "half*": "float16", "bfloat16*": "bfloat16"}


def of_launcher(function: Signature, text: str) -> tuple[tuple[str, ...], bool]:
    """What a launcher's pointers lead to, float32 where they do not tell; and whether that is mixed in one call."""
    named = tuple(dict.fromkeys(_OF_POINTERS[p.type] for p in function.arguments if p.type in _OF_POINTERS))
    if has_element(text):
        return tuple(dict.fromkeys((*OF_ELEMENT, *named))), bool(named)
    return named or ("float32",), len(named) > 1


def has_element(text: str) -> bool:
    """Whether a source's elements are of the dtype that a workload has, by numerics/element.hpp."""
    return re.search(r"\b(?:Element|TUNER_DTYPE)\b", without_comments(text)) is not None


def arguments(dtypes: tuple[str, ...], mixed: bool) -> str:
    """The lines of a Variant that say which it takes; none for what is so without them."""
    lines = f"        dtypes={dtypes!r},\n" if dtypes != ("float32",) else ""
    return lines + ("        mixed=True,\n" if mixed else "")
