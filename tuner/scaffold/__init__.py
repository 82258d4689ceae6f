"""New template folders: a small example that runs, or one around a source and a problem of the user's own."""

from tuner.scaffold.write import new_template

__all__ = ["new_template"]
