"""Read a .wandb file back: records of wandb's protocol in the log format of LevelDB."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER, FULL, FIRST, LAST = 32768, 7, 1, 2, 4


def read_records(path: Path, patience: float = 30.0) -> list[wandb_internal_pb2.Record]:
    """The records of a run that has ended: W&B's own process may still be writing them when `finish` returns."""
    deadline = time.monotonic() + patience
    while True:
        records = list(_records(path.read_bytes()))
        if any(record.HasField("exit") for record in records) or time.monotonic() > deadline:
            return records
        time.sleep(0.05)


def _records(data: bytes) -> Iterator[wandb_internal_pb2.Record]:
    if len(data) < HEADER:
        return
    assert data[:4] == b":W&B", "the file's own mark"
    position, record = 7, b""
    while position + HEADER <= len(data):
        room = BLOCK - position % BLOCK
        if room < HEADER:
            position += room
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + HEADER])
        if kind == 0:
            position += room
            continue
        part = data[position + HEADER : position + HEADER + length]
        if len(part) < length:
            return
        record = part if kind in (FULL, FIRST) else record + part
        position += HEADER + length
        if kind in (FULL, LAST):
            parsed = wandb_internal_pb2.Record()
            parsed.ParseFromString(record)
            yield parsed
