"""New template folders: a small example that runs, one around a source of the user's own, or a draft of a problem."""

from tuner.scaffold.write import new_draft, new_template

__all__ = ["new_draft", "new_template"]
