"""The configuration of a run: where settings come from and which of them identify the run."""

import copy
import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from kneeal.errors import UserError, unknown_name
from kneeal.files import parse_yaml, read_yaml
from kneeal.settings import RunConfig as RunConfig

#: Plain words for types that pydantic calls by Python's names.
_EXPECTED = {"tuple_type": "a list", "model_type": "a section with keys", "dict_type": "keys with values"}
#: Keys by which a study file is told from the configuration of one run.
STUDY_KEYS = {"name", "set", "settings", "grid", "seeds", "cells"}

#: Keys that say where and how a run is executed or shown, not what comes out of it.
EXECUTION_KEYS = ("data.dir", "tracking", "compute.accelerator", "compute.compile", "training.eval_batch_size")


def resolve(
    source: str | Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> RunConfig:
    """The configuration of a run: defaults < YAML < `--set` < flags; a flag of None was not given.

    `source` is a YAML file, the name of a configuration that ships with the package, or the content of one.
    """
    tree = {} if source is None else read_config(source)
    given = [(key, value) for key, value in (flags or {}).items() if value is not None]
    for key, value in (*parse_settings(settings), *given):
        put(tree, key, value)
    return validate(tree)


def read_config(source: str | Mapping[str, Any], folder: Path = Path(), above: Sequence[Path] = ()) -> dict[str, Any]:
    """The settings of a configuration, over those of the configuration that its key `base` names.

    A file is looked for in `folder` before it is taken for a path or a name. `above` are the files that led here.
    """
    tree: Any = copy.deepcopy(dict(source)) if isinstance(source, Mapping) else None
    if isinstance(source, str):
        path = (folder / source if (folder / source).is_file() else find_config(source)).resolve()
        if path in above:
            circle = " -> ".join(file.name for file in (*above[above.index(path) :], path))
            raise UserError(f"circular bases: {circle}", "a chain of bases that ends", "remove one `base`")
        tree, folder, above = read_yaml(path), path.parent, (*above, path)
    name = source if isinstance(source, str) else "base"
    if not isinstance(tree, dict):
        raise UserError(f"{name} has no settings", "sections with keys", "see docs/configuration.md")
    if tree.keys() & STUDY_KEYS:
        raise UserError(
            f"{name} is a study of several runs",
            f"the configuration of one run, for example {', '.join(config_names())}",
            f"start it with `kneeal study --config {name}`",
        )
    if (base := tree.pop("base", None)) is None:
        return tree
    if not isinstance(base, str):
        raise UserError(
            f"{name}: base = {base!r}", "the name or file of a configuration", "write for example base: frozen"
        )
    try:
        lower = read_config(base, folder, above)
    except UserError as error:
        raise error.within(f"{name}: base") from error
    for key, value in tree.items():
        section = lower.get(key)
        lower[key] = {**section, **value} if isinstance(section, dict) and isinstance(value, dict) else value
    return lower


def parse_settings(settings: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The dotted key and the value of each `section.key=value`, the value in YAML."""
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator or not key:
            raise UserError(f"--set {setting!r}", "--set section.key=value", "write for example --set model.width=16")
        yield key.strip(), parse_yaml(value, f"--set {setting}")


def validate(tree: Mapping[str, Any]) -> RunConfig:
    """A configuration from plain data."""
    try:  # a section with nothing in it has its defaults
        return RunConfig.model_validate({key: value for key, value in tree.items() if value is not None})
    except ValidationError as error:
        raise _explain(error) from error


def find_config(source: str) -> Path:
    """The file for a path or for the name of a configuration that ships with the package."""
    path, packaged = Path(source), packaged_config(source)
    if path.is_file() or packaged.is_file():
        return path if path.is_file() else packaged
    names, studies = config_names(), ", ".join(config_names(studies=True))
    if path.suffix in {".yaml", ".yml"}:
        raise UserError(
            f"no configuration file {source}",
            "a YAML file",
            f"check the path, or give a name: {', '.join(names)}; of a study: {studies}",
        )
    cure = f"check the name; studies start with `kneeal study --config`: {studies}"
    raise unknown_name("configuration", source, names, cure)


def packaged_config(name: str) -> Path:
    """Where a file of that name would ship with the package."""
    return Path(str(resources.files("kneeal") / "configs" / f"{name}.yaml"))


def config_names(*, studies: bool = False) -> list[str]:
    """Configurations of one run that ship with the package, or studies."""
    files = packaged_config("*").parent.glob("*.yaml")
    return sorted(file.stem for file in files if bool(read_yaml(file).keys() & STUDY_KEYS) == studies)


def flatten(config: RunConfig | Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key to plain value."""
    flat: dict[str, Any] = {}
    for key, value in (config.model_dump(mode="json") if isinstance(config, RunConfig) else config).items():
        inner = isinstance(value, Mapping) and value
        flat |= flatten(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return flat


def identity(config: RunConfig | Mapping[str, Any]) -> dict[str, Any]:
    """The keys that decide what comes out of a run, with their values."""
    execution = tuple(f"{key}." for key in EXECUTION_KEYS)
    return {key: value for key, value in flatten(config).items() if not f"{key}.".startswith(execution)}


def keywords(target: Callable[..., Any], *sections: BaseModel) -> dict[str, Any]:
    """The settings of some sections for which a constructor has a parameter of that name."""
    known = inspect.signature(target).parameters
    return {name: value for section in sections for name, value in section if name in known}


def to_yaml(config: RunConfig) -> str:
    """The configuration as YAML that `resolve` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def put(tree: dict[str, Any], dotted: str, value: Any) -> None:
    """Set a dotted key in a tree of sections; missing sections are created."""
    *sections, key = dotted.split(".")
    for section in sections:
        child = tree.setdefault(section, {})
        if not isinstance(child, dict):
            raise UserError(f"the key {dotted}, where {section} is not a section", "section.key", "check the key")
        tree = child
    tree[key] = value


def _explain(error: ValidationError) -> UserError:
    defaults = flatten(RunConfig())
    problems, expected, cures = [], [], []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            problems.append(f"unknown key {key}")
            expected.append("a key of docs/configuration.md")
            cures.append(_cure(key, section=isinstance(item["input"], dict), top=len(item["loc"]) == 1))
            continue
        # pydantic says "Value error, " before what a check of ours says, and "Input should be " before its own.
        message = item["msg"].removeprefix("Value error, ")
        problems.append(f"{key or 'configuration'} = {item['input']!r}")
        expected.append(_EXPECTED.get(item["type"]) or message.removeprefix("Input ").removeprefix("should be "))
        cures.append(f"correct {key}" + (f" (default: {defaults[key]})" if key in defaults else ""))
    return UserError(*("; ".join(dict.fromkeys(part)) for part in (problems, expected, cures)))


def _cure(key: str, *, section: bool, top: bool) -> str:
    """The cure for an unknown key: whether its value is a `section`, and whether it is at the `top` of the file."""
    known = list(flatten(RunConfig()))
    if top and key in known:
        return "write it as `{1}` in the section `{0}`".format(*key.split("."))
    if section and (near := difflib.get_close_matches(key, RunConfig.model_fields, 1)):
        return f"did you mean {near[0]}?"
    where, _, last = key.rpartition(".")
    own = {name.split(".")[-1]: name for name in known if name.startswith(where + ".")}
    names = own or {name.split(".")[-1]: name for name in known}
    if near := difflib.get_close_matches(last, names, 1):
        return f"did you mean {names[near[0]]}?"
    return f"remove {key}" + (f"; {where} has {', '.join(own)}" if own else "")
