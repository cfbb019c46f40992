"""The files that a table names: in another case, as absolute paths, by name alone; never outside the folder."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from kneeal.prepare.paths import NamedFiles


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    for name in ("a/One.PNG", "b/two.png", "c/two.png", "d/" + unicodedata.normalize("NFD", "évà.png")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (tmp_path / "secret.png").touch()
    return folder


def test_names_are_found_as_people_write_them(root: Path) -> None:
    files = NamedFiles(root)
    for name in ("a/One.PNG", "A/one.png", "a\\One.PNG", str(root / "a/One.PNG"), "one.png", "One", "./a/One.PNG"):
        assert files.find(name) == ("a/One.PNG", ""), name
    assert files.find(unicodedata.normalize("NFC", "d/évà.png"))[0]
    assert files.find("two.png") == ("", "missing") and files.find("b/two.png")[0] == "b/two.png"


def test_nothing_outside_is_found(root: Path) -> None:
    files = NamedFiles(root)
    for name in (
        "../secret.png",
        str(root.parent / "secret.png"),
        "/etc/hostname",
        "C:\\a\\One.PNG",
        "a/../../secret.png",
    ):
        assert files.find(name) == ("", "outside"), name
    for name in ("gone.png", "a", "secret.png"):
        assert files.find(name) == ("", "missing"), name


def test_a_pipe_is_no_file(root: Path) -> None:
    os.mkfifo(root / "pipe")
    assert NamedFiles(root).find("pipe") == ("", "missing")
