"""The program that the modules of commands add to, and the options that several of them share."""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer import Option

from kneeal import __version__

app = typer.Typer(
    name="kneeal",
    help="Grade knee osteoarthritis on radiographs with few expert labels.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)

Data = Annotated[Path | None, Option(help="Prepared data set.")]
Seed = Annotated[int | None, Option(help="Seed of everything random.")]
Accelerator = Annotated[str | None, Option(help="auto, cpu, gpu or mps.")]
Settings = Annotated[
    list[str] | None, Option("--set", help="section.key=value, any number of times.", metavar="KEY=VALUE")
]


@dataclass(frozen=True)
class RunArguments:
    """The settings of a run that have options of their own."""

    strategy: Annotated[str | None, Option(help="A name from `kneeal strategies`, or file.py:Class.")] = None
    seed: Seed = None
    ssl: Annotated[bool | None, Option("--ssl/--no-ssl", help="Consistency regularization on or off.")] = None
    accelerator: Accelerator = None

    def flags(self, data: Path | None) -> dict[str, Any]:
        """By dotted key; None where an option was not given."""
        return {
            "active.strategy": self.strategy,
            "data.dir": None if data is None else str(data),
            "seed": self.seed,
            "loss.consistency": self.ssl,
            "compute.accelerator": self.accelerator,
        }


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """The command with each parameter that is a dataclass replaced by that dataclass's fields, as options."""
    hints = get_type_hints(command, include_extras=True)
    parameters: list[Parameter] = []
    groups: dict[str, Any] = {}
    for given in signature(command).parameters.values():
        kind = hints[given.name]
        if not is_dataclass(kind):
            parameters.append(given.replace(kind=Parameter.KEYWORD_ONLY, annotation=kind))
            continue
        groups[given.name] = kind
        types = get_type_hints(kind, include_extras=True)
        parameters += [
            Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=types[field.name])
            for field in fields(kind)
        ]

    def run(**values: Any) -> None:
        made = {name: kind(**{f.name: values.pop(f.name) for f in fields(kind)}) for name, kind in groups.items()}
        command(**values, **made)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return run


def _print_version(given: bool) -> None:
    if given:
        print(f"kneeal {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass
