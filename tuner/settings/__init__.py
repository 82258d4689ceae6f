"""What a search is asked to do: YAML, environment variables and options."""

from tuner.settings.model import SCHEMA_FILE, Settings, json_schema, json_schema_text
from tuner.settings.project import (
    cache_root,
    cache_roots,
    drafts_folder,
    folder_of,
    project_root,
    python_templates,
    template_folders,
    working_folder,
)
from tuner.settings.sources import changed, given_dtype, load

__all__ = [
    "SCHEMA_FILE",
    "Settings",
    "cache_root",
    "cache_roots",
    "changed",
    "drafts_folder",
    "folder_of",
    "given_dtype",
    "json_schema",
    "json_schema_text",
    "load",
    "project_root",
    "python_templates",
    "template_folders",
    "working_folder",
]
