"""What a search is asked to do: YAML, environment variables and options."""

from tuner.settings.sources import (
    SCHEMA_FILE,
    Settings,
    cache_root,
    json_schema,
    json_schema_text,
    load,
    project_root,
)

__all__ = [
    "SCHEMA_FILE",
    "Settings",
    "cache_root",
    "json_schema",
    "json_schema_text",
    "load",
    "project_root",
]
