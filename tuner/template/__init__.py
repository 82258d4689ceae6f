"""Templates: folders with knobs, and the text of the candidates they make."""

from tuner.template.folder import Template, find, load
from tuner.template.shared import shipped_folder, shipped_names
from tuner.template.variant import Variant

__all__ = [
    "Template",
    "Variant",
    "find",
    "load",
    "shipped_folder",
    "shipped_names",
]
