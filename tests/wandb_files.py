"""Reading back what W&B's offline files hold."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

RECORD: Any = wandb_internal_pb2.__dict__["Record"]  # made at import: type checkers do not see it


def _log_entries(data: bytes) -> Iterator[bytes]:
    """Yield the entries of a LevelDB log, the format of W&B's offline files, behind W&B's own 7 bytes.

    Blocks of 32 KiB hold pieces (checksum 4, length 2, kind 1, bytes); kind 1 is a whole entry, 2, 3 and 4 are its
    first, middle and last pieces; fewer than 7 bytes at a block's end are padding.
    """
    assert data[:4] == b":W&B"
    place, entry = 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        piece = data[place + 7 : place + 7 + length]
        place += 7 + length
        entry = piece if kind in (1, 2) else entry + piece
        if kind in (1, 4):
            yield entry


class Recorded:
    """The records of one offline run file."""

    def __init__(self, path: Path) -> None:
        self.rows: list[dict[str, Any]] = []
        self.axes: dict[str, str] = {}
        self.summary: dict[str, Any] = {}
        self.artifacts: list[tuple[str, list[str]]] = []
        self.name = self.group = ""
        self.finished = False
        for data in _log_entries(path.read_bytes()):
            record = RECORD()
            record.ParseFromString(data)
            self._read(record)

    def _read(self, record: Any) -> None:
        kind = record.WhichOneof("record_type")
        if kind == "run":
            self.name, self.group = record.run.display_name, record.run.run_group
        elif kind == "history":
            items = record.history.item
            row = {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
            self.rows.append(row)
        elif kind == "summary":
            items = record.summary.update
            self.summary |= {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
        elif kind == "metric":
            self.axes[record.metric.name] = record.metric.step_metric
        elif kind == "artifact":
            entries = sorted(entry.path for entry in record.artifact.manifest.contents)
            self.artifacts.append((record.artifact.name, entries))
        elif kind == "exit":
            self.finished = True

    def curve(self, key: str) -> dict[tuple[int, int], float]:
        """Return the points of one curve by stage and step."""
        return {(row["at/stage"], row["at/step"]): row[key] for row in self.rows if key in row}


def recorded(folder: Path) -> dict[str, Recorded]:
    """Return the finished runs whose files are below a folder, by name.

    W&B's service flushes a file some milliseconds after `finish` returns; the last record is the run's exit.
    """
    for _ in range(1200):
        runs = [Recorded(path) for path in folder.rglob("run-*.wandb")]
        if runs and all(run.finished for run in runs):
            return {run.name: run for run in runs}
        time.sleep(0.05)
    raise AssertionError("W&B never finished its files")
