"""A to D: parameter values and inputs that a trial is verified on."""

from __future__ import annotations

import torch
from torch import nn

from tuner import problem
from tuner.verification.cases.case import trial_case
from tuner.verification.parameters import NORMS, State, Tensors, draw_affine, load_state, main_parameters
from tuner.verification.preconditions import Batch
from tuner.verification.reference import Reference

EDGE = 16.0  # cases B and C: how far the ends of a normalisation's biases stand out
OFFSET = 1e3  # case C: what a one-pass variance does not survive


@trial_case("A random affine")
def random_affine(reference: Reference, inputs: Tensors, rng: torch.Generator) -> tuple[State, Tensors]:
    """A: affine parameters and biases random, not their defaults."""
    return draw_affine(reference.state, rng), inputs


@trial_case("B own scale")
def own_scale(reference: Reference, inputs: Tensors, rng: torch.Generator) -> tuple[State, Tensors]:
    """B: every sample with its own scale and offset; the last channel's result the lowest, the first one's highest."""
    state, _ = random_affine(reference, inputs, rng)
    for name in main_parameters(reference.model):  # some weights change, most stay: what is kept of them is stale
        if state[name].dim() > 1:
            turned = torch.rand(state[name].shape, generator=rng, device=rng.device) < 1 / 16
            state[name] = torch.where(turned, -state[name], state[name])
    return _with_edges(reference.model, state, EDGE), own_scales(inputs, reference.batch, rng)


def _with_edges(model: nn.Module, state: State, edge: float) -> State:
    """The state with `edge` added to the first of a normalisation's biases and taken from the last.

    The ends are what a loop's bounds miss, and a minimum over the channels is seldom found there by chance.
    """
    main = main_parameters(model)
    for name, value in state.items():
        if name not in main and name.endswith("bias") and value.numel() > 1:
            state[name] = edged = value.clone()
            edged.view(-1)[0] += edge
            edged.view(-1)[-1] -= edge
    return state


def own_scales(inputs: Tensors, batch: Batch | None, rng: torch.Generator) -> Tensors:
    """Every sample times its own scale, spread over [1/16, 16], plus its own offset in [-2, 2].

    Inputs without samples get one scale and one offset; integers and truth values stay.
    """
    scaled = []
    for number, x in enumerate(inputs):
        if not x.is_floating_point():
            scaled.append(x)
            continue
        samples = x.shape[0] if batch is not None and number in batch.inputs else 1
        per_sample = (samples,) + (1,) * (x.dim() - 1) if x.dim() else ()
        ranks = torch.randperm(samples, generator=rng, device=rng.device).view(per_sample)
        spread = (ranks + torch.rand(per_sample, generator=rng, device=rng.device)) / samples
        scale = torch.exp2(spread * 8 - 4).to(x)
        offset = (torch.rand(per_sample, generator=rng, device=rng.device) * 4 - 2).to(x)
        scaled.append(x * scale + offset)
    return scaled


@trial_case("C common offset")
def common_offset(reference: Reference, inputs: Tensors, rng: torch.Generator) -> tuple[State, Tensors]:
    """C: a large common offset ahead of the normalisation, by the biases where there are any; B's edges, reversed."""
    state = _with_edges(reference.model, random_affine(reference, inputs, rng)[0], -EDGE)
    main = main_parameters(reference.model)
    biases = [name for name in main if name.endswith("bias") and state[name].dim() == 1]
    for name in biases:
        state[name] = state[name] + OFFSET
    return state, inputs if biases else [x + OFFSET if x.is_floating_point() else x for x in inputs]


@trial_case("D variance near eps")
def near_eps(reference: Reference, inputs: Tensors, rng: torch.Generator) -> tuple[State, Tensors]:
    """D: weights so small that the variance ahead of the normalisation is near its eps."""
    state, _ = random_affine(reference, inputs, rng)
    model, scales = reference.model, list[float]()

    def look(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        deviation = args[0].double().var().item() ** 0.5
        scales.append(module.eps**0.5 / deviation if deviation > 0 else 1.0)  # type: ignore[operator]

    hooks = [m.register_forward_pre_hook(look) for m in model.modules() if isinstance(m, NORMS)]
    load_state(model, state)
    with torch.no_grad():
        few = inputs if reference.batch is None else reference.batch.first(inputs, 4)
        try:
            problem.forward(reference.problem, model, few)
        finally:
            for hook in hooks:
                hook.remove()
    scale, main = min(scales, default=1e-3), main_parameters(model)
    return {
        name: value * scale if name in main and value.is_floating_point() else value for name, value in state.items()
    }, inputs
