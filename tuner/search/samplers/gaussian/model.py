"""A Gaussian process over points of a grid.

The covariance of two points is v1 * prod_i m(d_i / l_i) + v2 * mean_i m(d_i / l_i), plus noise on the diagonal:
m is the Matérn-5/2 function, d_i their distance in column i, l_i that column's length. The product lets
knobs interact, the mean lets each knob be learned from few points.
"""

from __future__ import annotations

import math

import numpy as np

from tuner.search.samplers.gaussian.grid import Grid, Matrix, Rows

FITTED = 150  # points at most that lengths and variances are learned from
CONDITIONED = 500  # points at most that a prediction rests on
STEPS = 40  # of the walk over lengths and variances
JITTER = 1e-6

# Logarithms of the lengths, of v1, of v2 and of the noise, each a priori normal.
LENGTH, VARIANCE, NOISE = math.log(0.4), math.log(0.5), math.log(0.02)


class Model:
    """Learns from (features, target) pairs and predicts the target elsewhere."""

    def __init__(self, grid: Grid, rng: np.random.Generator) -> None:
        self.rng = rng
        # A space of one point has no distances; its single column is then as good as any.
        self.distances = grid.distances or [(0, np.zeros((1, 1)))]
        lengths = len(self.distances)
        self.prior = np.array([LENGTH] * lengths + [VARIANCE, VARIANCE, NOISE])
        self.spread = np.array([1.0] * (lengths + 2) + [1.5])
        self.parameters = self.prior.copy()

    def learn(self, features: Rows, targets: Matrix) -> None:
        """Improve lengths, variances and noise: a random walk, from where the last one ended, that only climbs."""
        chosen = self._chosen(targets, FITTED)
        features, scaled = features[chosen], _scaled(targets[chosen])[0]
        least = self._loss(self.parameters, features, scaled)
        for step in range(STEPS):
            tried = self.parameters.copy()
            if step % 3:
                tried[self.rng.integers(len(tried))] += self.rng.normal() * 0.8
            else:
                tried += self.rng.normal(size=len(tried)) * 0.25
            loss = self._loss(tried, features, scaled)
            if loss < least:
                self.parameters, least = tried, loss

    def condition(self, features: Rows, targets: Matrix, under_way: Rows) -> None:
        """Rest the predictions on these points; those `under_way` count as measured at what is expected of them."""
        chosen = self._chosen(targets, CONDITIONED)
        scaled, self.mean, self.scale = _scaled(targets[chosen])
        self.features = np.concatenate([features[chosen], under_way])
        factor = self._factor(self.parameters, self.features)
        if factor is None:  # an unlucky walk: the prior's noise is always enough
            self.parameters = self.prior.copy()
            factor = self._factor(self.parameters, self.features)
            assert factor is not None
        self.inverse: Matrix = np.linalg.inv(factor)
        # A process conditioned on its own mean has the same mean: targets of the measured points alone weigh.
        measured = len(scaled)
        self.weights: Matrix = self.inverse[:measured, :measured] @ scaled

    def predict(self, features: Rows) -> tuple[Matrix, Matrix]:
        """Mean and standard deviation of the target at each row."""
        covariance = self.inverse @ self._covariance(self.parameters, self.features, features)
        mean = self.weights @ covariance[: len(self.weights)]
        variance = np.exp(self.parameters[-3:-1]).sum() - np.square(covariance).sum(axis=0)
        return mean * self.scale + self.mean, np.sqrt(np.maximum(variance, 1e-10)) * self.scale

    def _covariance(self, parameters: Matrix, one: Rows, other: Rows) -> Matrix:
        product = np.ones((len(one), len(other)))
        total = np.zeros_like(product)
        for (column, distances), length in zip(self.distances, parameters, strict=False):
            steps = distances * (math.sqrt(5) / math.exp(length))
            similar = ((1 + steps + steps * steps / 3) * np.exp(-steps))[one[:, column]][:, other[:, column]]
            product *= similar
            total += similar
        v1, v2 = np.exp(parameters[-3:-1])
        found: Matrix = v1 * product + v2 / len(self.distances) * total
        return found

    def _factor(self, parameters: Matrix, features: Rows) -> Matrix | None:
        """Cholesky factor of the covariance of measurements; None when it is numerically singular."""
        covariance = self._covariance(parameters, features, features)
        covariance[np.diag_indices(len(features))] += math.exp(parameters[-1]) + JITTER
        try:
            found: Matrix = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            return None
        return found

    def _loss(self, parameters: Matrix, features: Rows, scaled: Matrix) -> float:
        """Negative logarithm of the parameters' posterior density, up to a constant."""
        factor = self._factor(parameters, features)
        if factor is None:
            return math.inf
        weights = np.linalg.solve(factor, scaled)
        prior = np.square((parameters - self.prior) / self.spread).sum()
        return float(0.5 * weights @ weights + np.log(np.diag(factor)).sum() + 0.5 * prior)

    def _chosen(self, targets: Matrix, count: int) -> Rows:
        """Indices of at most `count` points: the best, and as many drawn from the others."""
        if len(targets) <= count:
            return np.arange(len(targets))
        order = np.argsort(targets, kind="stable")
        best = count // 2
        return np.concatenate([order[:best], self.rng.choice(order[best:], count - best, replace=False)])


def _scaled(targets: Matrix) -> tuple[Matrix, float, float]:
    """Targets with mean 0 and deviation 1, and what these were."""
    mean, scale = float(targets.mean()), float(targets.std()) + 1e-9
    return (targets - mean) / scale, mean, scale
