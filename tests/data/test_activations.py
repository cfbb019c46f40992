"""Kept activations: what is computed, when, and what happens to the files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kneeal.data import activations as activations_module
from kneeal.data.activations import Activations, view_seed
from kneeal.data.source import OneView, PatchSource
from kneeal.data.views import Views
from kneeal.errors import UserError

CPU = torch.device("cpu")
IDS = tuple(f"p{k}_R" for k in range(40))
ROW = {knee: 39 - k for k, knee in enumerate(IDS)}
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 2, 16, 16)).astype(np.uint8)
WEIGHTS = torch.randn(256, 6, generator=torch.Generator().manual_seed(0)) / 16


class Encoder:
    """Counts the knees that it encodes."""

    def __init__(self) -> None:
        self.knees = 0

    def __call__(self, patches: torch.Tensor) -> torch.Tensor:
        self.knees += len(patches)
        return patches.flatten(2) @ WEIGHTS


def source() -> PatchSource:
    return PatchSource(PIXELS, ROW, Views(16))


class Kept:
    """Activations in a folder, with what was said and encoded."""

    def __init__(
        self,
        folder: Path,
        *,
        made_of: Mapping[str, Any] | None = None,
        n_views: int = 3,
        on_log: Callable[[], None] = lambda: None,
        **views: Any,
    ) -> None:
        self.said: list[str] = []
        self.encode = Encoder()

        def log(message: str) -> None:
            self.said.append(message)
            on_log()

        self.activations = Activations(
            source(), ROW, self.encode, n_views=n_views, folder=folder, made_of=made_of or {"weights": "a"},
            view_settings=views or {"rotation": 10.0}, device=CPU, log=log,
        )  # fmt: skip
        self.encode.knees = 0  # but for the one whose shape was looked at

    def plain(self, *ids: str) -> torch.Tensor:
        return self.activations.plain(self.activations.rows(ids or IDS), CPU)

    def views(self, seed: int, *ids: str) -> torch.Tensor:
        rows = self.activations.rows(ids or IDS)
        return self.activations.views(rows, torch.full_like(rows, seed), CPU)


def files(folder: Path) -> dict[str, Path]:
    return {file.stem.split("-")[0]: file for file in folder.rglob("*.f16")}


def test_each_knee_and_view_is_encoded_once_for_all_runs(tmp_path: Path) -> None:
    first = Kept(tmp_path)
    plain, views = first.plain(), [first.views(seed, *IDS[:5]) for seed in range(4)]
    assert first.encode.knees == 40 + 3 * 5
    again = Kept(tmp_path)
    assert torch.equal(again.plain(), plain) and torch.equal(again.views(1, *IDS[:5]), views[1])
    assert again.encode.knees == 0
    assert again.views(0).shape == (40, 2, 6) and again.encode.knees == 3 * 35


def test_they_are_what_the_encoder_makes_of_the_same_views(tmp_path: Path) -> None:
    kept, patches = Kept(tmp_path), source()
    rows = patches.rows(IDS)
    expected = Encoder()(patches.plain(rows, CPU)).half().float()
    assert torch.equal(kept.plain(), expected)
    first = torch.tensor([view_seed(knee) for knee in IDS])
    for seed in (0, 2, 4):
        views = patches.views(rows, first + seed % 3, CPU)
        torch.testing.assert_close(kept.views(seed), Encoder()(views).half().float(), rtol=1e-3, atol=1e-4)
    assert not torch.equal(kept.views(0), kept.views(1)) and torch.equal(kept.views(0), kept.views(3))


def test_other_weights_patches_or_views_are_other_files(tmp_path: Path) -> None:
    plain = Kept(tmp_path).plain()
    other = Kept(tmp_path, made_of={"weights": "b"})
    other.plain()
    assert other.encode.knees == 40 and not other.said
    turned = Kept(tmp_path, rotation=20.0)
    assert torch.equal(turned.plain(), plain)
    assert turned.encode.knees == 0, "knees without a view do not depend on the views"
    Kept(tmp_path).views(0)
    turned.views(0)
    assert turned.encode.knees == 3 * 40


def test_deleting_the_folder_costs_time_only(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    before = kept.plain()
    for file in sorted(tmp_path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    assert torch.equal(kept.plain(), before), "an open file stays"
    again = Kept(tmp_path)
    assert torch.equal(again.plain(), before) and again.encode.knees == 40


def test_damaged_rows_and_foreign_files_are_computed_again_and_said(tmp_path: Path) -> None:
    before = Kept(tmp_path).plain()
    file = files(tmp_path)["plain"]
    content = bytearray(file.read_bytes())
    content[ROW[IDS[3]] * 24 + 5] ^= 64
    file.write_bytes(content)
    damaged = Kept(tmp_path)
    assert torch.equal(damaged.plain(), before) and damaged.encode.knees == 1
    assert "1 damaged" in damaged.said[-1]
    file.write_bytes(content[:100])
    cut = Kept(tmp_path)
    assert torch.equal(cut.plain(), before) and cut.encode.knees == 40
    assert any("size" in message for message in cut.said)
    about = file.with_name("about.json")
    for text in ("{", json.dumps({**json.loads(about.read_text()), "weights": "of another network"})):
        about.write_text(text)
        foreign = Kept(tmp_path)
        assert torch.equal(foreign.plain(), before) and foreign.encode.knees == 40
        assert any("something other" in message for message in foreign.said)


@pytest.mark.parametrize("in_memory", [2**28, 0])
def test_a_file_that_is_shortened_while_it_is_open_ends_no_process(
    tmp_path: Path, in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activations_module, "_IN_MEMORY", in_memory)
    kept, again = Kept(tmp_path), Kept(tmp_path)
    before = kept.plain(), kept.views(1)
    assert torch.equal(again.plain(*IDS[:8]), before[0][:8])
    for file in files(tmp_path).values():
        os.truncate(file, 10)
    if in_memory:
        assert torch.equal(kept.plain(), before[0]) and torch.equal(kept.views(1), before[1])
    else:
        for read in (kept.plain, lambda: kept.views(1)):
            with pytest.raises(UserError, match="shorter than when it was opened"):
                read()
    # What was not read before the cut is damaged, and computed again.
    assert torch.equal(again.plain(*IDS[8:]), before[0][8:]) and again.encode.knees == 32
    assert "32 damaged" in again.said[-1]


FILL = """
import sys
sys.path[:0] = {path!r}
from test_activations import Kept, IDS
import kneeal.data.activations as a
from pathlib import Path
a._BATCH, kept = 4, Kept(Path(sys.argv[1]))
encode = kept.activations.encode
def slow(patches):
    print("encoding", flush=True)
    sys.stdin.readline()
    return encode(patches)
kept.activations.encode = slow
kept.plain()
print(*kept.said, kept.encode.knees, sep="|", flush=True)
"""


def filling(folder: Path) -> subprocess.Popen[str]:
    """A process that encodes, and waits for a line before each batch, or for the end of all lines."""
    code = FILL.format(path=[str(Path(__file__).parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_process_killed_while_it_encodes_leaves_whole_rows(tmp_path: Path) -> None:
    with filling(tmp_path) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("\n" * 3)
        process.stdin.flush()
        for _ in range(4):
            assert process.stdout.readline() == "encoding\n"
        process.send_signal(signal.SIGKILL)
    kept = Kept(tmp_path)
    assert torch.equal(kept.plain(), Encoder()(source().plain(source().rows(IDS), CPU)).half().float())
    assert kept.encode.knees == 28 and not kept.said


def test_a_second_process_waits_and_finds_what_the_first_encoded(tmp_path: Path) -> None:
    with filling(tmp_path) as first:
        assert first.stdin is not None and first.stdout is not None
        assert first.stdout.readline() == "encoding\n"
        second = Kept(tmp_path, on_log=first.stdin.close)  # goes on once the second one waits
        second.plain()
        assert second.encode.knees == 0
        assert second.said == ["another process is encoding the same knees: waiting for it"]


def test_on_a_full_disk_the_run_goes_on_in_memory_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(tmp_path)
    first = kept.plain(*IDS[:8])

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(activations_module.RowFile, "_write", full)
    expected = Encoder()(source().plain(source().rows(IDS), CPU)).half().float()
    assert torch.equal(kept.plain(), expected) and torch.equal(kept.plain(*IDS[:8]), first)
    assert kept.encode.knees == 40
    assert [m for m in kept.said if "No space left" in m and "in memory" in m] == kept.said
    monkeypatch.setattr(activations_module, "free_memory", lambda: 10)
    with pytest.raises(UserError, match=r"neither .* nor the memory has room"):
        kept.views(0)


def test_a_data_set_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "activations").write_text("in the way")
    kept = Kept(tmp_path / "activations")
    assert kept.plain().shape == (40, 2, 6) and kept.views(1).shape == (40, 2, 6)
    assert len(kept.said) == 2 and all("cannot keep activations" in message for message in kept.said)


def test_one_view_stands_for_the_knees(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    view = OneView(kept.activations, lambda knee: 2)
    assert torch.equal(view.plain(view.rows(IDS), CPU), kept.views(2))


def test_numbers_out_of_range_are_refused(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.activations.encode = lambda patches: patches.flatten(2) * 1e9
    with pytest.raises(UserError, match="16-bit"):
        kept.plain()


def test_without_random_views_training_sees_the_knees_as_they_are(tmp_path: Path) -> None:
    kept = Kept(tmp_path, n_views=0)
    assert torch.equal(kept.views(5), kept.plain()) and kept.encode.knees == 40
