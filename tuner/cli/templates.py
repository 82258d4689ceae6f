"""tuner templates and tuner validate: what there is to search, and whether configs ask for it rightly."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic import BaseModel

from tuner.cli.configs import WrongConfigs, configs_argument, given
from tuner.cli.output import json_option, print_json, say
from tuner.errors import TunerError
from tuner.space import Choice

if TYPE_CHECKING:
    from rich.console import Console

    from tuner.template import Template, Variant


class KnobListing(BaseModel):
    """One knob, as `--json` prints it."""

    choices: list[Choice]
    default: Choice
    doc: str


class VariantListing(BaseModel):
    """One variant, as `--json` prints it; `points` are those before constraints."""

    template: str
    variant: str
    device: str
    points: int
    doc: str
    knobs: dict[str, KnobListing]
    constraints: list[str]
    leaves: list[str]

    @classmethod
    def of(cls, template: Template, variant: Variant) -> VariantListing:
        return cls(
            template=template.name,
            variant=variant.name,
            device=variant.device,
            points=math.prod(len(knob.choices) for knob in variant.knobs),
            doc=variant.doc,
            knobs={k.name: KnobListing(choices=list(k.choices), default=k.default, doc=k.doc) for k in variant.knobs},
            constraints=[constraint.name for constraint in variant.constraints],
            leaves=list(variant.leaves),
        )


@click.command()
@json_option
@click.argument("names", nargs=-1)
def templates(names: tuple[str, ...], as_json: bool) -> None:
    """List templates: variants, knobs, the size of each space."""
    from tuner import settings, template
    from tuner.screen import tables

    here = settings.working_folder()
    found = [template.load(settings.folder_of(name, here)) for name in names or sorted(settings.template_folders(here))]
    listings = [VariantListing.of(kernel, variant) for kernel in found for variant in kernel.variants]
    if as_json:
        print_json([listing.model_dump(mode="json") for listing in listings])
        return
    console = tables.console()
    for listing in listings:
        _print(listing, console)


def _print(listing: VariantListing, console: Console) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from tuner.screen import tables

    click.echo(f"{listing.template} {listing.variant} ({listing.device}): {listing.doc}")
    click.echo(f"  {listing.points} points before constraints")
    rows = [
        [f"  {name}", " ".join(_choice(choice, knob.default) for choice in knob.choices), knob.doc]
        for name, knob in listing.knobs.items()
    ]
    console.print(tables.listing(["  knob", "choices (default in brackets)", ""], rows))
    if listing.constraints:
        rules = Text(f"constraints: {', '.join(listing.constraints)}")
        console.print(Padding(rules, (0, 0, 0, 2), expand=False))  # wraps between words
    if listing.leaves:
        click.echo(f"  leaves to PyTorch: {', '.join(listing.leaves)}")
    click.echo()


def _choice(value: Choice, default: Choice) -> str:
    text = str(int(value)) if isinstance(value, bool) else str(value)
    return f"[{text}]" if value == default else text


@click.command()
@configs_argument
@json_option
def validate(configs: tuple[Path, ...], as_json: bool) -> None:
    """Check CONFIG files or template folders without running anything; every fault of every file is said."""
    from tuner import settings
    from tuner.settings import static

    checked: list[dict[str, object]] = []
    faults: list[TunerError] = []
    for path in configs:
        try:
            one = settings.load(given(path, say(as_json)).config)
            found = static.faults(one)
        except TunerError as fault:
            found = [str(fault)]
        faults += map(TunerError, found)
        if found:
            continue
        checked.append({"config": str(path), "settings": one.model_dump(mode="json")})
        if not as_json:
            click.echo(f"{path}: ok ({Path(one.template).name})")
    if as_json:
        print_json(checked)
    if faults:
        raise WrongConfigs(faults)
