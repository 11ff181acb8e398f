"""The user's bars on disk: Parquet parts per timeframe and symbol, and a manifest that says where they come from.

``<home>/data/raw/<timeframe>/<symbol>/part-<first>-<last>-<hash>.parquet`` hold disjoint spans of bars;
``manifest.json`` beside them lists the parts, and the spans that a download has finished. A part is never rewritten:
new bars go into a new part. Both are written to a temporary file, flushed and renamed, the manifest last, so a crash
leaves the old state or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trader.core.clock import iso
from trader.core.panel import FIELDS, REAL, BarPanel, FloatArray, IntArray
from trader.data.bars import EXTRA_FIELDS, SymbolBars, union_grid
from trader.data.timeframe import available_at, parse_timeframe
from trader.utils.atomic import atomic_write_bytes, cannot_write
from trader.utils.errors import UserError

MANIFEST = "manifest.json"
COLUMNS = ("ts_ns", *FIELDS, *EXTRA_FIELDS)
Span = tuple[int, int]          # start (inclusive) and end (exclusive), ns UTC


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
        return _info(self._add(symbol, name, bars, source, adjustment, origin, one_origin))

    def write_span(
        self, symbol: str, timeframe: str, bars: SymbolBars, span: Span, *, source: str, adjustment: str, origin: str,
    ) -> DatasetInfo | None:
        """Add all the bars that a source has within a span, perhaps none, and remember that the span is `covered`.

        None while no bar at all is stored. Bars of another source, adjustment or origin are refused as in `write`.
        """
        name = parse_timeframe(timeframe).name
        manifest = self._add(symbol, name, bars, source, adjustment, origin, True, span)
        return _info(manifest) if manifest["parts"] else None

    def _add(
        self, symbol: str, name: str, bars: SymbolBars, source: str, adjustment: str, origin: str, one_origin: bool,
        span: Span | None = None,
    ) -> dict[str, Any]:
        """Write new parts, then the manifest, which is returned; one process at a time."""
        if (np.diff(bars.ts_ns) <= 0).any():
            raise ValueError(f"{symbol} {name}: bar starts must be strictly increasing")
        with _only_writer(self._folder(name, symbol)):
            return self._add_locked(symbol, name, bars, source, adjustment, origin, one_origin, span)

    def _add_locked(
        self, symbol: str, name: str, bars: SymbolBars, source: str, adjustment: str, origin: str, one_origin: bool,
        span: Span | None,
    ) -> dict[str, Any]:
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
        for fresh in _runs_missing_from(bars, _starts_of(self._files(name, symbol, manifest))):
            manifest["parts"].append(self._write_part(name, symbol, fresh))
        manifest["parts"].sort(key=lambda part: part["first_ns"])
        if origin not in manifest["origin"].split("; "):
            manifest["origin"] += f"; {origin}"
        if span is not None:
            manifest["covered"] = _merged([*_spans(manifest), span])
        text = json.dumps(manifest, indent=1, sort_keys=True)
        atomic_write_bytes(self._folder(name, symbol) / MANIFEST, text.encode())
        return manifest

    def covered(self, symbol: str, timeframe: str) -> list[Span]:
        """The spans that a download has finished, in order and apart; whatever they lack, the source lacks."""
        manifest = self._manifest(parse_timeframe(timeframe).name, symbol)
        return [] if manifest is None else _spans(manifest)

    def damaged(self, symbol: str, timeframe: str) -> list[str]:
        """The parts whose bars are not those that were written, by their hashes."""
        name = parse_timeframe(timeframe).name
        manifest = self._manifest(name, symbol)
        folder = self._folder(name, symbol)
        return [
            part["file"] for part in (manifest or {"parts": []})["parts"]
            if _digest(_read_part(folder / part["file"])) != part["sha256"]
        ]

    def remove(self, symbol: str, timeframe: str) -> None:
        """Forget a symbol's bars: the manifest first, so a crash leaves no half-readable dataset."""
        folder = self._folder(parse_timeframe(timeframe).name, symbol)
        if folder.is_dir():
            (folder / MANIFEST).unlink(missing_ok=True)
            for leftover in folder.iterdir():
                leftover.unlink(missing_ok=True)
            folder.rmdir()

    def read(
        self, symbols: Sequence[str], timeframe: str, start_ns: int | None = None, end_ns: int | None = None
    ) -> BarPanel:
        """The stored bars with ``start_ns <= ts_ns < end_ns`` as a panel; KeyError names a symbol that is not there.

        Symbols are aligned on the union of their bar starts; where one has no bar there is NaN in every field. The
        panel is ``real`` only when every symbol in it is. Beside the panel only one symbol's columns are in memory.
        """
        frame = parse_timeframe(timeframe)
        manifests = {s: self._manifest(frame.name, s) for s in symbols}
        missing = [s for s, m in manifests.items() if m is None or not m["parts"]]
        if missing:
            raise KeyError(f"no {frame.name} bars of {', '.join(missing)} in {self.root}")
        sources = {m["source"] for m in manifests.values() if m}
        files = {s: self._files(frame.name, s, m, start_ns, end_ns) for s, m in manifests.items() if m}
        starts = {s: _starts_of(paths) for s, paths in files.items()}
        cuts = {s: _cut(ts, start_ns, end_ns) for s, ts in starts.items()}
        grid, rows = union_grid([ts[cuts[s]] for s, ts in starts.items()])
        values = _aligned(files, cuts, rows, len(grid))
        return BarPanel(
            tuple(symbols), frame.name, grid, available_at(grid, frame),
            source=REAL if sources <= {REAL} else sorted(sources - {REAL})[0], **values,
        )

    def bars(
        self, symbol: str, timeframe: str, start_ns: int | None = None, end_ns: int | None = None
    ) -> SymbolBars:
        """One symbol's stored bars with ``start_ns <= ts_ns < end_ns``."""
        name = parse_timeframe(timeframe).name
        manifest = self._manifest(name, symbol)
        if manifest is None:
            raise KeyError(f"no {name} bars of {symbol} in {self.root}")
        pieces = [_read_part(path) for path in self._files(name, symbol, manifest, start_ns, end_ns)]
        return _joined(pieces).between(start_ns, end_ns)

    def info(self, symbol: str, timeframe: str) -> DatasetInfo | None:
        """What is stored of a symbol in a timeframe; None when nothing is."""
        manifest = self._manifest(parse_timeframe(timeframe).name, symbol)
        return None if manifest is None or not manifest["parts"] else _info(manifest)

    def datasets(self) -> list[DatasetInfo]:
        """Everything that is stored, by timeframe and symbol."""
        manifests = [_load(path) for path in sorted(self.root.glob(f"*/*/{MANIFEST}"))]
        return [_info(manifest) for manifest in manifests if manifest["parts"]]

    def _folder(self, timeframe: str, symbol: str) -> Path:
        if not symbol or not all(c.isalnum() or c in "._-" for c in symbol) or symbol.startswith("."):
            raise UserError(f"symbol {symbol!r} is not a ticker; letters, digits, dot and dash are")
        return self.root / timeframe / symbol

    def _manifest(self, timeframe: str, symbol: str) -> dict[str, Any] | None:
        path = self._folder(timeframe, symbol) / MANIFEST
        return _load(path) if path.is_file() else None

    def _files(
        self, timeframe: str, symbol: str, manifest: dict[str, Any], start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> list[Path]:
        """The parts that reach into a range, in order."""
        folder = self._folder(timeframe, symbol)
        return [
            folder / part["file"] for part in manifest["parts"]
            if (end_ns is None or part["first_ns"] < end_ns) and (start_ns is None or part["last_ns"] >= start_ns)
        ]

    def _write_part(self, timeframe: str, symbol: str, bars: SymbolBars) -> dict[str, Any]:
        import io

        import pyarrow as pa
        import pyarrow.parquet as pq

        digest = _digest(bars)
        buffer = io.BytesIO()
        # lz4 without a dictionary is read three times as fast as zstd, for a fifth more room
        pq.write_table(pa.table(_present(bars)), buffer, compression="lz4", use_dictionary=False)
        first, last = int(bars.ts_ns[0]), int(bars.ts_ns[-1])
        file = f"part-{first}-{last}-{digest[:12]}.parquet"
        atomic_write_bytes(self._folder(timeframe, symbol) / file, buffer.getvalue())
        return {"file": file, "first_ns": first, "last_ns": last, "rows": len(bars), "sha256": digest}


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


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """A lock on a dataset (released by the system when its holder dies), and no temporary files of the dead."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as handle:
            if os.name == "posix":
                import fcntl

                fcntl.flock(handle, fcntl.LOCK_EX)
            for leftover in folder.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)
            yield
    except OSError as error:
        raise cannot_write(folder, error) from error


def _runs_missing_from(bars: SymbolBars, known: IntArray) -> list[SymbolBars]:
    """The bars that are not known yet, in runs between which no known bar lies: parts stay disjoint spans."""
    fresh = bars.take(~np.isin(bars.ts_ns, known))
    if not len(fresh):
        return []
    rank = np.searchsorted(np.sort(known), fresh.ts_ns)
    cuts = np.flatnonzero(np.diff(rank)) + 1
    return [fresh.take(run) for run in np.split(np.arange(len(fresh)), cuts)]


def _present(bars: SymbolBars) -> dict[str, Any]:
    return {name: getattr(bars, name) for name in COLUMNS if getattr(bars, name) is not None}


def _digest(bars: SymbolBars) -> str:
    digest = hashlib.sha256()
    for name, values in _present(bars).items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _read_columns(path: Path, columns: Sequence[str] | None = None) -> dict[str, Any]:
    """Columns of a part as arrays; a column that it does not have is left out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path, memory_map=True).read(columns=columns, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read ({error}); import or download these bars again") from error
    return {name: table[name].to_numpy() for name in table.column_names}


def _read_part(path: Path) -> SymbolBars:
    return SymbolBars(**_read_columns(path))


def _starts_of(paths: Sequence[Path]) -> IntArray:
    parts = [_read_columns(path, ["ts_ns"])["ts_ns"] for path in paths]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _cut(ts_ns: IntArray, start_ns: int | None, end_ns: int | None) -> slice:
    low = 0 if start_ns is None else int(np.searchsorted(ts_ns, start_ns))
    return slice(low, len(ts_ns) if end_ns is None else int(np.searchsorted(ts_ns, end_ns)))


def _aligned(
    files: Mapping[str, Sequence[Path]], cuts: Mapping[str, slice], rows: Sequence[IntArray | None], length: int
) -> dict[str, FloatArray]:
    """Field → (length, n_symbols), read symbol by symbol straight to its place; ``rows`` None means every row."""
    shape = (length, len(files))
    out = {name: np.empty(shape) for name in FIELDS}
    for column, (symbol, paths) in enumerate(files.items()):
        parts = [_read_columns(path, [*FIELDS, *EXTRA_FIELDS]) for path in paths]
        for name in (*FIELDS, *EXTRA_FIELDS):
            if not any(name in part for part in parts):
                if name in out:
                    out[name][:, column] = np.nan
                continue
            if name not in out:         # the first symbol that has a vwap or a count
                out[name] = np.full(shape, np.nan)
            pieces = [part[name] if name in part else np.full(len(part["close"]), np.nan) for part in parts]
            values = (pieces[0] if len(pieces) == 1 else np.concatenate(pieces))[cuts[symbol]]
            at = rows[column]
            if at is None:
                out[name][:, column] = values
            else:
                out[name][:, column] = np.nan
                out[name][at, column] = values
    return out


def _spans(manifest: dict[str, Any]) -> list[Span]:
    return [(int(start), int(end)) for start, end in manifest.get("covered", ())]


def _merged(spans: list[Span]) -> list[Span]:
    """Spans in order, those that touch or overlap made one."""
    out: list[Span] = []
    for start, end in sorted(spans):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


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
