"""A Gaussian process on the logarithm of the time, and the point of which it expects most.

sampler.py decides, model.py predicts, candidates.py says what is looked at, grid.py has points as numbers.
"""

from tuner.search.samplers.gaussian.sampler import Gaussian

__all__ = ["Gaussian"]
