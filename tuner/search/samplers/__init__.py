"""Samplers: what decides which point is measured next. One module each; a new one is added to `SAMPLERS`."""

from __future__ import annotations

from tuner.search.samplers.base import Sampler
from tuner.search.samplers.exhaustive import Exhaustive
from tuner.search.samplers.gaussian import Gaussian
from tuner.search.samplers.random import Random
from tuner.search.samplers.tpe import Tpe

SAMPLERS: dict[str, type[Sampler]] = {"gaussian": Gaussian, "tpe": Tpe, "random": Random, "exhaustive": Exhaustive}

__all__ = ["SAMPLERS", "Exhaustive", "Gaussian", "Random", "Sampler", "Tpe"]
