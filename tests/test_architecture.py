"""The map in docs/contributing.md and the code agree, and imports go down only."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import kneeal

PACKAGE = Path(kneeal.__file__).parent
MAP = Path(__file__).parents[1] / "docs" / "contributing.md"
ROW = re.compile(r"^\| (?P<row>\d+) \| `(?P<room>\w+)` \|[^|]*\|(?P<outside>[^|]*)\|$", re.MULTILINE)
#: Room to its row, from the top. The command line's entry points stand above, the package itself below everything.
LAYERS = {"__main__": 0, "": 99}
#: Room to what it may import from elsewhere, where the map limits that.
ALLOWED: dict[str, set[str]] = {name: set() for name in ("pool", "errors", "seeds")}
for found in ROW.finditer(MAP.read_text(encoding="utf-8")):
    LAYERS[found["room"]] = int(found["row"])
    if found["outside"].strip():
        ALLOWED[found["room"]] = {name.strip() for name in found["outside"].split(",")}


def room(module: str) -> str:
    return module.removeprefix("kneeal").lstrip(".").split(".")[0]


def layer(module: str) -> int:
    return LAYERS[room(module)]


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: absolute imports only"
            found |= {f"kneeal.{a.name}" for a in node.names} if node.module == "kneeal" else {node.module}
    return found


def modules() -> list[tuple[str, Path]]:
    return [
        (".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"), path)
        for path in PACKAGE.rglob("*.py")
    ]


def test_the_map_names_every_room_and_no_other() -> None:
    there = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert there - {"__init__", "__main__"} == LAYERS.keys() - {"", "__main__"}


def test_the_drawing_shows_every_room_in_its_row() -> None:
    drawn = re.findall(r"^ *(\d+) │ ([a-z ]+?) +│", MAP.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name: int(row) for row, names in drawn for name in names.split()} == {
        name: row for name, row in LAYERS.items() if name not in ("", "__main__")
    }


def test_imports_go_down_only() -> None:
    wrong = [
        f"{module} imports {imported}"
        for module, path in modules()
        for imported in imports(path)
        if imported.split(".")[0] == "kneeal" and imported != "kneeal.__version__"
        if room(imported) != room(module) and layer(imported) <= layer(module)
    ]
    assert wrong == []
    assert len(modules()) > 30


def test_the_lower_layers_need_little() -> None:
    wrong = []
    for module, path in modules():
        allowed = ALLOWED.get(module.removeprefix("kneeal").lstrip(".").split(".")[0])
        if allowed is not None:
            tops = {imported.split(".")[0] for imported in imports(path)}
            wrong += [f"{module} imports {top}" for top in tops - {*allowed, *sys.stdlib_module_names, "kneeal"}]
    assert wrong == []


def test_training_alone_knows_lightning() -> None:
    known = {
        room(module) for module, path in modules() if any("lightning" in name.split(".")[0] for name in imports(path))
    }
    assert known == {"training"}


def test_no_config_object_travels_below_build() -> None:
    for module, path in modules():
        # A report compares the settings of runs, as they were saved.
        if layer(module) > layer("kneeal.build") and room(module) not in ("config", "settings", "report"):
            assert not {"kneeal.config", "kneeal.settings"} & imports(path), module
