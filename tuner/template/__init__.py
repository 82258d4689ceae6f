"""Templates: folders with knobs, and the text of the candidates they make."""

from tuner.template.folder import Template, faults, find, folder_of, load
from tuner.template.shared import shipped_folder, shipped_names
from tuner.template.variant import Variant

__all__ = [
    "Template",
    "Variant",
    "faults",
    "find",
    "folder_of",
    "load",
    "shipped_folder",
    "shipped_names",
]
