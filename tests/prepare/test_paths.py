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
    for name in ("gone.png", "secret.png"):
        assert files.find(name) == ("", "missing"), name
    assert files.find("a") == ("", "unreadable")  # a folder


def test_a_path_of_another_machine_is_followed_from_the_folder_that_it_names(root: Path) -> None:
    files = NamedFiles(root)
    for name in (
        "../root/a/One.PNG",
        "/home/ana/set/root/a/One.PNG",
        "C:\\Users\\Ana Li\\Root\\a\\one.png",
        "set/root/a/One.PNG",
    ):
        assert files.find(name) == ("a/One.PNG", ""), name
    # Neither another folder nor a way out again is.
    for name in ("/home/ana/set/other/a/One.PNG", "/home/ana/root/../secret.png", "../root/a/../../secret.png"):
        assert files.find(name) == ("", "outside"), name
    assert files.find("/home/ana/root/c/One.PNG") == ("", "missing")


def test_a_folder_inside_of_the_same_name_is_no_detour(tmp_path: Path) -> None:
    for name in ("knees/knees/a.png", "knees/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files = NamedFiles(tmp_path / "knees")
    assert files.find("knees/a.png")[0] == files.find("/x/knees/knees/a.png")[0] == "knees/a.png"
    assert files.find(str(tmp_path / "knees/a.png"))[0] == "a.png"


def test_a_pipe_is_no_file(root: Path) -> None:
    os.mkfifo(root / "pipe")
    assert NamedFiles(root).find("pipe") == ("", "unreadable") and NamedFiles(root).find("") == ("", "missing")
