"""What a forward may return: a tensor, or tuples (with names or without) and lists of tensors, nested as they like."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def tensors_of(result: object) -> list[torch.Tensor]:
    """The tensors of a result, in order. Raises TypeError, which names what else it holds, or that it holds none."""
    found: list[torch.Tensor] = []
    _collect(result, found)
    if not found:
        raise TypeError(f"returned an empty {type(result).__name__}, not a plain tensor")
    return found


def _collect(result: object, found: list[torch.Tensor]) -> None:
    import torch

    if isinstance(result, torch.Tensor):
        found.append(result)
    elif isinstance(result, tuple | list):
        for one in result:
            _collect(one, found)
    else:
        raise TypeError(f"returned {a(type(result).__name__)}, not a plain tensor")


def structure_of(result: object) -> str:
    """How tuples and lists, which are taken for the same, are nested in a result: "(tensor, (tensor, tensor))"."""
    if isinstance(result, tuple | list):
        return f"({', '.join(structure_of(one) for one in result)})"
    return "tensor"


def a(name: str) -> str:
    """A type's name behind its article."""
    return f"an {name}" if name[:1].lower() in "aeiou" else f"a {name}"
