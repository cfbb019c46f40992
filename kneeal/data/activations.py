"""Activations of a frozen encoder: computed once per knee and view, kept beside the data set."""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kneeal.data.prepared import digest
from kneeal.data.shelf import Shelf
from kneeal.data.source import PatchSource
from kneeal.errors import UserError
from kneeal.files import hold, write_atomic
from kneeal.seeds import derive_seed

#: Name of the folder in a data set's own.
FOLDER = "activations"
#: Most random views of a knee that are kept: each has a seed of its own.
MAX_KEPT = 2**16
_ABOUT, _LOCK = "about.json", ".lock"
#: Patch pairs that are encoded at once.
_BATCH = 32
#: Bytes of activations of one evaluation batch.
_EVALUATION_BYTES = 64 * 2**20
#: Knees between two reports of progress.
_REPORT = 1024


def view_seed(knee_id: str) -> int:
    """Seed of the first kept view of a knee, a function of its name alone; the other views have the next seeds."""
    return derive_seed(0, "kept view", knee_id) * MAX_KEPT


@dataclass(eq=False)
class Activations:
    """Activations of the knees of a data set, in place of their patches.

    Each knee is encoded without a random view, and in `n_views` random views, when it is first asked for. Results are
    float16 in files under `folder`, in one folder for each encoder and preparation of the patches, so that all runs
    share them. Two processes that want the same take turns. Deleting the folder costs time only.
    """

    source: PatchSource  #: Patches and random views.
    row: Mapping[str, int]  #: Row of each knee, the one that `source` gives.
    encode: Callable[[Tensor], Tensor]  #: From patches [N, 2, H, H] in [-1, 1] to activations [N, 2, ...].
    _: KW_ONLY
    n_views: int  #: Random views per knee, from which a seed chooses; with 0, training sees knees without random views.
    folder: Path  #: Where the activations are kept.
    made_of: Mapping[str, Any]  #: What the activations depend on besides the random views: weights, patches, size.
    view_settings: Mapping[str, Any]  #: Settings of the random views.
    device: torch.device  #: Where to encode.
    log: Callable[[str], None] = lambda message: print(message, file=sys.stderr)  #: Called with a message for the user.

    def __post_init__(self) -> None:
        self.rows = self.source.rows
        self._ids = sorted(self.row, key=self.row.__getitem__)
        self._folder = self.folder / digest(self.made_of)[:16]
        shape = tuple(self.encode(self.source.plain(torch.tensor([0]), self.device)).shape[1:])
        self._open({**self.made_of, "shape": list(shape)})
        n = len(self._ids)
        self._plain = Shelf(self._folder / "plain.f16", (n, *shape), self.log)
        if self.n_views:
            name = f"views-{digest({**self.view_settings, 'n_views': self.n_views, 'seeds': 'by knee'})[:16]}.f16"
            self._views = Shelf(self._folder / name, (n, self.n_views, *shape), self.log)
        #: Knees of an evaluation batch.
        self.batch_size = max(1, _EVALUATION_BYTES // (4 * math.prod(shape)))

    def row_device(self, device: torch.device) -> torch.device:
        """Device of the rows that are looked up: always the CPU."""
        return torch.device("cpu")

    def plain(self, rows: Tensor, device: torch.device) -> Tensor:
        """Activations [B, 2, ...] of rows [B] without a random view, float32."""
        self._fill(self._plain, rows, lambda missing: self.encode(self.source.plain(missing, self.device)))
        return torch.from_numpy(self._plain.read(rows.numpy())).to(device).float()

    def views(self, rows: Tensor, seeds: Tensor, device: torch.device) -> Tensor:
        """Activations [B, 2, ...] of one random view of each of rows [B], which seeds [B] choose."""
        if not self.n_views:
            return self.plain(rows, device)
        self._fill(self._views, rows, self._views_of)
        values = torch.from_numpy(self._views.read(rows.numpy(), (seeds.cpu() % self.n_views).numpy()))
        return values.to(device).float()

    def _fill(self, shelf: Shelf, rows: Tensor, compute: Callable[[Tensor], Tensor]) -> None:
        if not len(shelf.missing(rows.numpy())):
            return
        with self._held():
            shelf.damaged = 0
            missing = shelf.missing(rows.numpy())  # another process may have computed some
            n = len(missing)
            if shelf.damaged:
                self.log(f"{shelf.path}: {shelf.damaged} damaged activations are computed again")
            for start in range(0, n, _BATCH):
                if start % _REPORT == 0 and n >= _REPORT // 4:
                    self.log(f"encoding knees once for all runs: {start} of {n}")
                part = missing[start : start + _BATCH]
                values = compute(torch.from_numpy(part)).half()
                if not values.isfinite().all():
                    raise UserError(
                        "activations outside of the range of 16-bit numbers",
                        "an encoder whose activations are below 65,504",
                        "choose another model.freeze or model.backbone",
                    )
                shelf.write(part, values.cpu().numpy())
            if n >= _REPORT // 4:
                self.log(f"encoding knees once for all runs: {n} of {n}")

    def _views_of(self, rows: Tensor) -> Tensor:
        """[B, n_views, 2, ...]; view v of a knee is a function of the knee and v alone."""
        seeds = torch.tensor([view_seed(self._ids[row]) for row in rows.tolist()], device=self.device)
        views = [self.encode(self.source.views(rows, seeds + v, self.device)) for v in range(self.n_views)]
        return torch.stack(views, dim=1)

    def _open(self, about: Mapping[str, Any]) -> None:
        """Make the folder, and empty it where it holds something else."""
        path, text = self._folder / _ABOUT, json.dumps(about, indent=1, sort_keys=True) + "\n"
        # The files in it meet the same error, report it, and go on in memory.
        with suppress(OSError, UserError), self._held():
            if path.is_file() and path.read_text(encoding="utf-8", errors="replace") == text:
                return
            if files := list(self._folder.glob("*.f16*")):
                self.log(f"{self._folder} holds something other than its name says: it is computed again")
                for file in files:
                    file.unlink()
            write_atomic(path, text)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the folder, waiting for another process; without a lock where the folder cannot be written."""
        waiting = "another process encodes the same knees: waiting for it"
        with ExitStack() as stack:
            with suppress(OSError, UserError):
                stack.enter_context(hold(self._folder / _LOCK, on_wait=lambda: self.log(waiting)))
            yield
