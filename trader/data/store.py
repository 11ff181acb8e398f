"""The user's bars on disk: Parquet parts per timeframe and symbol, and a manifest that says where they come from.

``<home>/data/raw/<timeframe>/<symbol>/part-<first>-<last>-<hash>.parquet`` hold disjoint spans of bars;
``manifest.json`` beside them lists the parts. A part is never rewritten: new bars go into a new part. Both are
written to a temporary file, flushed and renamed, the manifest last, so a crash leaves the old state or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trader.core.clock import iso
from trader.core.panel import FIELDS, REAL, BarPanel, IntArray
from trader.data.bars import EXTRA_FIELDS, SymbolBars, assemble
from trader.data.timeframe import parse_timeframe
from trader.utils.errors import UserError

MANIFEST = "manifest.json"
COLUMNS = ("ts_ns", *FIELDS, *EXTRA_FIELDS)


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What is known about one symbol's bars in one timeframe."""

    symbol: str
    timeframe: str
    source: str                 # "real" or "synthetic-intraday"
    adjustment: str             # "raw", "split", "split+dividend" or what the file said
    origin: str                 # the file, package or service that the bars came from
    first_ns: int               # start of the first bar
    last_ns: int                # start of the last bar
    rows: int
    sha256: str                 # over the bars, in order; the same bars give the same hash
    place: str                  # "store" or "sample"

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``: times as RFC 3339."""
        return {
            "symbol": self.symbol, "timeframe": self.timeframe, "source": self.source,
            "adjustment": self.adjustment, "origin": self.origin, "first": iso(self.first_ns),
            "last": iso(self.last_ns), "rows": self.rows, "sha256": self.sha256, "place": self.place,
        }


class BarStore:
    """Reads and writes the bars under one home."""

    def __init__(self, home: Path) -> None:
        self.root = home / "data" / "raw"

    def write(
        self, symbol: str, timeframe: str, frame: SymbolBars | Mapping[str, Any], *,
        source: str, adjustment: str, origin: str, one_origin: bool = False,
    ) -> DatasetInfo:
        """Add bars to a symbol; bars whose start is already there are left as they are.

        Parameters
        ----------
        frame : SymbolBars or a mapping of columns
            A mapping (a DataFrame too) has ``timestamp`` or ``ts_ns``, ``open, high, low, close, volume`` and
            perhaps ``vwap, trade_count``.
        one_origin : bool
            Also refuse bars of another origin than the stored ones (synthetic bars of another seed).

        Raises
        ------
        UserError
            When the symbol's stored bars have another source or adjustment: they must not be mixed.
        """
        name = parse_timeframe(timeframe).name
        bars = frame if isinstance(frame, SymbolBars) else bars_from_columns(frame)
        if not len(bars):
            raise ValueError(f"{symbol} {name}: no bars to write")
        if (np.diff(bars.ts_ns) <= 0).any():
            raise ValueError(f"{symbol} {name}: bar starts must be strictly increasing")
        manifest = self._manifest(name, symbol)
        if manifest is None:
            manifest = {
                "symbol": symbol, "timeframe": name, "source": source, "adjustment": adjustment,
                "origin": origin, "parts": [],
            }
        rules = [("source", source), ("adjustment", adjustment), *([("origin", origin)] if one_origin else [])]
        for key, given in rules:
            if manifest[key] != given:
                raise UserError(
                    f"{symbol} {name}: the stored bars have {key} {manifest[key]!r}, the new ones {given!r}; "
                    f"they must not be mixed: remove {self._folder(name, symbol)} first, or use another --home"
                )
        for fresh in _runs_missing_from(bars, self._starts(name, symbol, manifest)):
            manifest["parts"].append(self._write_part(name, symbol, fresh))
        manifest["parts"].sort(key=lambda part: part["first_ns"])
        if origin not in manifest["origin"].split("; "):
            manifest["origin"] += f"; {origin}"
        text = json.dumps(manifest, indent=1, sort_keys=True)
        write_atomically(self._folder(name, symbol) / MANIFEST, text.encode())
        return _info(manifest)

    def remove(self, symbol: str, timeframe: str) -> None:
        """Forget a symbol's bars: the manifest first, so a crash leaves no half-readable dataset."""
        folder = self._folder(parse_timeframe(timeframe).name, symbol)
        if folder.is_dir():
            (folder / MANIFEST).unlink(missing_ok=True)
            for part in folder.glob("part-*.parquet"):
                part.unlink()
            folder.rmdir()

    def read(
        self, symbols: Sequence[str], timeframe: str, start_ns: int | None = None, end_ns: int | None = None
    ) -> BarPanel:
        """The stored bars with ``start_ns <= ts_ns < end_ns`` as a panel; KeyError names a symbol that is not there.

        The panel is ``real`` only when every symbol in it is.
        """
        frame = parse_timeframe(timeframe)
        manifests = {s: self._manifest(frame.name, s) for s in symbols}
        missing = [s for s, m in manifests.items() if m is None]
        if missing:
            raise KeyError(f"no {frame.name} bars of {', '.join(missing)} in {self.root}")
        sources = {m["source"] for m in manifests.values() if m}
        bars = {s: self.bars(s, frame.name, start_ns, end_ns) for s in symbols}
        return assemble(bars, frame, REAL if sources <= {REAL} else sorted(sources - {REAL})[0])

    def bars(
        self, symbol: str, timeframe: str, start_ns: int | None = None, end_ns: int | None = None
    ) -> SymbolBars:
        """One symbol's stored bars with ``start_ns <= ts_ns < end_ns``."""
        name = parse_timeframe(timeframe).name
        manifest = self._manifest(name, symbol)
        if manifest is None:
            raise KeyError(f"no {name} bars of {symbol} in {self.root}")
        pieces = [
            _read_part(self._folder(name, symbol) / part["file"])
            for part in manifest["parts"]
            if (end_ns is None or part["first_ns"] < end_ns) and (start_ns is None or part["last_ns"] >= start_ns)
        ]
        return _joined(pieces).between(start_ns, end_ns)

    def info(self, symbol: str, timeframe: str) -> DatasetInfo | None:
        """What is stored of a symbol in a timeframe; None when nothing is."""
        manifest = self._manifest(parse_timeframe(timeframe).name, symbol)
        return None if manifest is None else _info(manifest)

    def datasets(self) -> list[DatasetInfo]:
        """Everything that is stored, by timeframe and symbol."""
        paths = sorted(self.root.glob(f"*/*/{MANIFEST}"))
        return [_info(_load(path)) for path in paths]

    def _folder(self, timeframe: str, symbol: str) -> Path:
        if not symbol or not all(c.isalnum() or c in "._-" for c in symbol) or symbol.startswith("."):
            raise UserError(f"symbol {symbol!r} is not a ticker; letters, digits, dot and dash are")
        return self.root / timeframe / symbol

    def _manifest(self, timeframe: str, symbol: str) -> dict[str, Any] | None:
        path = self._folder(timeframe, symbol) / MANIFEST
        return _load(path) if path.is_file() else None

    def _starts(self, timeframe: str, symbol: str, manifest: dict[str, Any]) -> IntArray:
        parts = [_read_part(self._folder(timeframe, symbol) / p["file"]).ts_ns for p in manifest["parts"]]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _write_part(self, timeframe: str, symbol: str, bars: SymbolBars) -> dict[str, Any]:
        import io

        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {name: getattr(bars, name) for name in COLUMNS if getattr(bars, name) is not None}
        digest = hashlib.sha256()
        for name, values in columns.items():
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(values).tobytes())
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns), buffer, compression="zstd")
        first, last = int(bars.ts_ns[0]), int(bars.ts_ns[-1])
        file = f"part-{first}-{last}-{digest.hexdigest()[:12]}.parquet"
        write_atomically(self._folder(timeframe, symbol) / file, buffer.getvalue())
        return {"file": file, "first_ns": first, "last_ns": last, "rows": len(bars), "sha256": digest.hexdigest()}


def bars_from_columns(columns: Mapping[str, Any]) -> SymbolBars:
    """`SymbolBars` from a mapping of columns or a DataFrame with ``timestamp`` (or ``ts_ns``) and OHLCV."""
    if "ts_ns" in columns:
        starts = np.asarray(columns["ts_ns"], dtype=np.int64)
    else:
        import pandas as pd

        moments = pd.DatetimeIndex(pd.to_datetime(columns["timestamp"], utc=True))
        starts = moments.as_unit("ns").asi8
    values = {n: np.asarray(columns[n], dtype=np.float64) for n in (*FIELDS, *EXTRA_FIELDS) if n in columns}
    return SymbolBars(starts, **values)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, and a crash loses neither."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; give a --home that is writable and has room"
        ) from error


def _runs_missing_from(bars: SymbolBars, known: IntArray) -> list[SymbolBars]:
    """The bars that are not known yet, in runs between which no known bar lies: parts stay disjoint spans."""
    fresh = bars.take(~np.isin(bars.ts_ns, known))
    if not len(fresh):
        return []
    rank = np.searchsorted(np.sort(known), fresh.ts_ns)
    cuts = np.flatnonzero(np.diff(rank)) + 1
    return [fresh.take(run) for run in np.split(np.arange(len(fresh)), cuts)]


def _read_part(path: Path) -> SymbolBars:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read ({error}); import or download these bars again") from error
    return SymbolBars(**{name: table[name].to_numpy() for name in table.column_names})


def _joined(pieces: list[SymbolBars]) -> SymbolBars:
    if not pieces:
        empty = np.empty(0)
        return SymbolBars(np.empty(0, np.int64), empty, empty, empty, empty, empty)
    extras = {
        name: np.concatenate([
            np.full(len(p), np.nan) if getattr(p, name) is None else getattr(p, name) for p in pieces
        ])
        for name in EXTRA_FIELDS
        if any(getattr(p, name) is not None for p in pieces)
    }
    return SymbolBars(
        np.concatenate([p.ts_ns for p in pieces]),
        *(np.concatenate([getattr(p, name) for p in pieces]) for name in FIELDS), **extras,
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); import or download these bars again") from error
    return manifest


def _info(manifest: dict[str, Any]) -> DatasetInfo:
    parts = manifest["parts"]
    digest = hashlib.sha256("".join(p["sha256"] for p in parts).encode()).hexdigest()
    return DatasetInfo(
        manifest["symbol"], manifest["timeframe"], manifest["source"], manifest["adjustment"], manifest["origin"],
        parts[0]["first_ns"], parts[-1]["last_ns"], sum(p["rows"] for p in parts), digest, "store",
    )
