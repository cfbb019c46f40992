"""Read a .wandb file back: records of wandb's protocol in the log format of LevelDB."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER, FULL, FIRST, LAST = 32768, 7, 1, 2, 4


def read_finished(path: Path, timeout: float = 400.0) -> list[wandb_internal_pb2.Record]:
    """All records of a run that was finished.

    `finish` returns when W&B's own process has taken the last record, a few milliseconds before it has written them.
    """
    deadline = time.monotonic() + timeout
    while True:
        records = list(_read_records(path))
        if any(record.HasField("exit") for record in records):
            return records
        assert time.monotonic() < deadline, f"{path} has {len(records)} records and no end after {timeout} s"
        time.sleep(0.05)


def _read_records(path: Path) -> Iterator[wandb_internal_pb2.Record]:
    data = path.read_bytes()
    assert data[:4] in (b"", b":W&B"), "the file's own mark"  # empty until its first block is written
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
            return  # still being written
        record = part if kind in (FULL, FIRST) else record + part
        position += HEADER + length
        if kind in (FULL, LAST):
            parsed = wandb_internal_pb2.Record()
            parsed.ParseFromString(record)
            yield parsed
