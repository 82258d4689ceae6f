"""Templates: folders with knobs, and the text of the candidates they make."""

from tuner.template.folder import (
    Template,
    Variant,
    find,
    load,
    shipped_folder,
    shipped_names,
)

__all__ = [
    "Template",
    "Variant",
    "find",
    "load",
    "shipped_folder",
    "shipped_names",
]
