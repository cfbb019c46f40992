"""Imports go down only."""

from __future__ import annotations

import ast
from pathlib import Path

import kneeal

PACKAGE = Path(kneeal.__file__).parent
#: From the top; a module may import from its own layer and from those below it.
LAYERS = (
    ("cli", "__main__"),
    ("annotate", "predict", "study", "report"),
    ("job", "asking", "pretrain_job"),
    ("build", "around", "posterior", "networks"),
    ("config", "runner", "tracking", "console", "figures", "table", "stopping"),
    ("exchange",),
    ("callbacks", "yaml_files"),
    ("posteriors",),
    ("learner", "pretraining"),
    ("archive",),
    ("finder",),
    ("films",),
    ("data",),
    ("radiograph",),
    ("adapters", "loop"),
    ("metrics",),
    ("nn",),
    ("acquisition",),
    ("pool",),
    ("errors", "seeds", "stats", "run_lock", "process", ""),
)
#: What may be imported from elsewhere, where that is limited.
ALLOWED = {
    "acquisition": {"torch"},
    "adapters": {"torch", "numpy", "baal"},
    "nn": {"torch", "torchvision"},
    "pool": set(),
    "errors": set(),
    "seeds": set(),
    "loop": {"torch"},
    "stats": {"numpy"},
}
STANDARD = {
    "__future__", "abc", "collections", "contextlib", "copy", "csv", "dataclasses", "difflib", "enum", "functools",
    "hashlib", "importlib", "inspect", "io", "json", "math", "os", "pathlib", "pkgutil", "re", "shutil", "time",
    "types", "typing", "warnings",
}  # fmt: skip


def layer(module: str) -> int:
    name = module.removeprefix("kneeal").lstrip(".").split(".")[0]
    return next(number for number, names in enumerate(LAYERS) if name in names)


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


def test_imports_go_down_only() -> None:
    wrong = [
        f"{module} imports {imported}"
        for module, path in modules()
        for imported in imports(path)
        if imported.split(".")[0] == "kneeal" and imported != "kneeal.__version__" and layer(imported) < layer(module)
    ]
    assert wrong == []
    assert len(modules()) > 30


def test_the_lower_layers_need_little() -> None:
    wrong = []
    for module, path in modules():
        allowed = ALLOWED.get(module.removeprefix("kneeal").lstrip(".").split(".")[0])
        if allowed is not None:
            tops = {imported.split(".")[0] for imported in imports(path)}
            wrong += [f"{module} imports {top}" for top in tops - {*allowed, *STANDARD, "kneeal"}]
    assert wrong == []


def test_the_loop_knows_no_lightning() -> None:
    for module, path in modules():
        if module.startswith(("kneeal.loop", "kneeal.acquisition", "kneeal.nn", "kneeal.pool")):
            assert "lightning" not in path.read_text().replace("Knows no Lightning", ""), module


def test_no_config_object_travels_below_build() -> None:
    for module, path in modules():
        if layer(module) > layer("kneeal.build") and not module.startswith("kneeal.config"):
            assert "kneeal.config" not in imports(path), module
