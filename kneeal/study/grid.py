"""A study file, and the cells that it spans."""

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kneeal.build.run_folder import run_name
from kneeal.build.selection import make_strategies
from kneeal.config import RunConfig, config_names, flatten, packaged_config, parse_settings, put, read_config, validate
from kneeal.errors import UserError, unknown_name
from kneeal.files import read_yaml

#: Keys of an entry of `cells` and `exclude` that are not keys of a run.
SETTING, SEED = "setting", "seed"
_BY_SEED = "{seed}"


class StudyFile(BaseModel):
    """What a study file may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="also the W&B project")]
    base: str | dict[str, Any] = Field("paper", description="configuration by name or file, or written out here")
    out: str | None = Field(None, description="study folder; runs/NAME if empty")
    set: dict[str, Any] = Field(default_factory=dict, description="dotted keys that every cell has")
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict, description="name to dotted keys")
    grid: dict[str, list[Any]] = Field(default_factory=dict, description="dotted key to values, crossed with settings")
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default_factory=lambda: [0], min_length=1)
    exclude: list[dict[str, Any]] = Field(default_factory=list, description="cells that match all keys are left out")
    cells: list[dict[str, Any]] = Field(default_factory=list, description="further cells, key by key")


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    name: str  #: The run folder's name, a function of the configuration alone.
    setting: str  #: What it is called in tables; cells of a setting differ in the seed only.
    config: RunConfig  #: The resolved configuration.
    #: Dotted keys whose text names the seed, as the study file gives them.
    by_seed: Mapping[str, str] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.config.seed


@dataclass(frozen=True)
class Study:
    """The cells of a study file."""

    name: str  #: What it is called.
    out: Path  #: Its folder; each cell's run folder lies in it.
    cells: tuple[Cell, ...]  #: In the order of the file: all settings of the first seed, then of the next.


def read_study(path: Path, *, settings: Sequence[str] = (), data: str | None = None, out: Path | None = None) -> Study:
    """The cells of a study file, with `settings`, `data` and `out` in place of what it says.

    Precedence: base < `set` < a setting's keys < `grid` < seed < the arguments. `{seed}` in a text becomes the
    cell's seed, for example in the name of a file of weights.
    """
    study = _parse(path)
    base = read_config(study.base, path.parent)
    changes = dict(parse_settings(settings))
    if data is not None:
        changes["data.dir"] = data
    points = list(_points(study))
    varied = {key for _, keys in points for key in keys}
    cells: dict[str, Cell] = {}
    for setting, keys in points:
        tree = copy.deepcopy(base)
        # A setting that trains on all labels stays that baseline whatever --set says.
        whole = {key: "all" for key in ("active.n_init", "active.budget") if keys.get(key) == "all"}
        given = {**study.set, **keys, **changes, **whole}
        for key, value in given.items():
            by_seed = str(value).replace(_BY_SEED, str(given[SEED])) if _names_seed(value) else copy.deepcopy(value)
            put(tree, key, by_seed)
        config = _tracked(validate(tree), study, setting)
        make_strategies(config)  # an unknown one would fail cell by cell
        name = run_name(config, config.data.dir if "data.dir" in varied else None)
        label = _label(setting, keys, study)
        if name in cells:
            raise UserError(
                f"{path} has a duplicate cell: {label!r} seed {config.seed} is the same run as "
                f"{cells[name].setting!r} seed {cells[name].seed}",
                "cells that differ in what they compute",
                "remove one of them, or a value that is given twice; --set also makes cells equal where it sets "
                "a key of the grid",
            )
        cells[name] = Cell(name, label, config, {key: value for key, value in given.items() if _names_seed(value)})
    if not cells:
        raise UserError(f"{path} has no cells", "at least one that `exclude` leaves", "remove an entry of exclude")
    return Study(study.name, out or Path(study.out or Path("runs") / study.name), tuple(cells.values()))


def _parse(path: Path) -> StudyFile:
    if not path.is_file():
        packaged = packaged_config(path.stem)
        if path not in (Path(path.stem), Path("configs", packaged.name)) or not packaged.is_file():
            names = ", ".join(config_names(studies=True))
            raise UserError(f"no study file {path}", f"a YAML file, or one of: {names}", "check the path")
        path = packaged
    tree = read_yaml(path)
    if not isinstance(tree, dict):
        raise UserError(f"{path} has no keys", "the keys of a study", "see docs/studies.md")
    if tree and tree.keys() <= {*RunConfig.model_fields, "base"}:
        raise UserError(
            f"{path} is the configuration of one run",
            "a study of several runs",
            f"start it with `kneeal fit --config {path.stem if path == packaged_config(path.stem) else path}`",
        )
    try:
        return StudyFile.model_validate(tree)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise UserError(
            f"{path}: {'; '.join(problems)}",
            f"a study with the keys {', '.join(StudyFile.model_fields)}",
            "correct these keys (docs/studies.md); a run's own keys go under set, settings or grid",
        ) from error


def _points(study: StudyFile) -> Iterator[tuple[str, dict[str, Any]]]:
    """Setting and dotted keys of each cell, seed by seed."""
    named = study.settings or {"": {}}
    empty = [key for key, values in study.grid.items() if not values]
    if empty:
        raise UserError(f"grid.{empty[0]} without a value", "a list of values", "give one, or remove the key")
    used: set[int] = set()
    for seed in study.seeds:
        for (setting, keys), values in itertools.product(named.items(), itertools.product(*study.grid.values())):
            point = {**keys, **dict(zip(study.grid, values, strict=True)), SEED: seed}
            have = {**point, SETTING: setting}
            matching = {n for n, entry in enumerate(study.exclude) if entry.items() <= have.items()}
            used |= matching
            if not matching:
                yield setting, point
    unused = [entry for n, entry in enumerate(study.exclude) if n not in used]
    if unused:
        raise UserError(
            f"exclude {unused[0]} matches no cell",
            "the setting, seed or grid values of some cell",
            "correct or drop it",
        )
    for entry in study.cells:
        setting = str(entry.get(SETTING, ""))
        if setting and setting not in study.settings:
            raise unknown_name("setting", setting, study.settings, "correct the cell")
        own = {key: value for key, value in entry.items() if key != SETTING}
        yield setting, {**study.settings.get(setting, {}), SEED: 0, **own}


def _names_seed(value: Any) -> bool:
    return isinstance(value, str) and _BY_SEED in value


def _label(setting: str, keys: Mapping[str, Any], study: StudyFile) -> str:
    """The setting's name with the grid's values, or what the cell sets in addition to its setting."""
    own = study.settings.get(setting, {})
    extra = [f"{key}={value}" for key, value in keys.items() if key != SEED and (key in study.grid or key not in own)]
    return ", ".join([*([setting] if setting else []), *extra]) or study.name


def _tracked(config: RunConfig, study: StudyFile, setting: str) -> RunConfig:
    """With project, group, job type and tags for W&B, where the study does not say otherwise."""
    kind = "consistency" if config.loss.consistency else "naive"
    flat = flatten(config)
    grid = [f"{key}={flat.get(key)}" for key in study.grid]
    own = {
        "project": study.name,
        "group": ", ".join([*([setting] if setting else []), *grid]) or f"{config.active.strategy}-{kind}",
        "job_type": "study",
        # W&B takes tags of at most 64 characters.
        "tags": tuple(tag[:64] for tag in (config.active.strategy, kind, f"seed{config.seed}")),
    }
    tracking, default = config.tracking, RunConfig().tracking
    unset = {key: value for key, value in own.items() if getattr(tracking, key) == getattr(default, key)}
    return config.model_copy(update={"tracking": tracking.model_copy(update=unset)})
