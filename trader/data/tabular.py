"""A user's CSV or Parquet file as a table with known column names."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trader.utils.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

# what a header says, without case, spaces and punctuation -> what we call it
SPELLINGS = {
    "timestamp": "timestamp datetime dateandtime dateandtimeutc t ts timestamputc timestampns timestampms "
                 "barstart starttime start opentime begin begintime index unnamed0 timens timems epoch unixtime unix",
    "date": "date day tradedate tradingday sessiondate dt yyyymmdd",
    "time": "time timeofday hhmm hhmmss",
    "open": "open o openprice priceopen px_open first",
    "high": "high h highprice pricehigh max",
    "low": "low l lowprice pricelow min",
    "close": "close c closeprice priceclose last closelast settle",
    "volume": "volume v vol shares totalvolume volumeshares sharevolume",
    "vwap": "vwap vw wap average averageprice volumeweighted volumeweightedaverageprice",
    "trade_count": "tradecount n trades transactions numberoftrades numtrades count barcount",
    "symbol": "symbol ticker sym s instrument code name stock",
}
_MEANING = {word.replace("_", ""): ours for ours, words in SPELLINGS.items() for word in words.split()}
NUMBERS = ("open", "high", "low", "close", "volume", "vwap", "trade_count")
REQUIRED = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class Table:
    """A file's rows under our column names; ``first_line`` is the line (or row) that row 0 stands on."""

    path: Path
    frame: pd.DataFrame
    metadata: dict[str, Any]
    row_word: str
    first_line: int

    def where(self, position: int) -> str:
        """``line 17`` or ``row 17`` for a row by its place in the frame's index."""
        return f"{self.row_word} {position + self.first_line}"


def read_table(path: Path) -> Table:
    """Read a file and recognise its columns; prices and volumes come back as float64.

    Raises
    ------
    UserError
        No such file, not a table, a column missing or named twice, or a cell that is no number (with its line).
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a CSV or Parquet file with bars")
    table = _read_parquet(path) if _is_parquet(path) else _read_csv(path)
    table.frame.columns = _renamed(table)
    for column in NUMBERS:
        if column in table.frame:
            table.frame[column] = _numbers(table, column)
    return table


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(4) == b"PAR1"


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: not a readable Parquet file ({error}); write it again") from None
    said = (table.schema.metadata or {}).get(b"alphatrade", b"{}")
    try:
        metadata = json.loads(said)
    except ValueError:
        metadata = {}
    frame = table.to_pandas()
    if not _has_plain_index(frame):
        frame = frame.reset_index()
    return Table(path, frame, metadata if isinstance(metadata, dict) else {}, "row", 1)


def _has_plain_index(frame: pd.DataFrame) -> bool:
    import pandas as pd

    return isinstance(frame.index, pd.RangeIndex)


def _read_csv(path: Path) -> Table:
    import pandas as pd

    with path.open(encoding="utf-8-sig", errors="replace") as handle:
        head = handle.read(8192)
    if "\x00" in head or not head.strip():
        raise UserError(f"{path}: neither CSV nor Parquet, or empty; give bars with a header line")
    header = head.splitlines()[0]
    separator = max(",;\t|", key=header.count)
    names = next(csv.reader([header], delimiter=separator))
    if all(re.fullmatch(r"[\s\d.,:+\-/TZ]*", name) for name in names):
        raise UserError(
            f"{path}, line 1: there is no header; the first line must name the columns, "
            "as in timestamp,open,high,low,close,volume"
        )
    try:
        frame = pd.read_csv(path, sep=separator, dtype=str, encoding="utf-8-sig", skip_blank_lines=False,
                            keep_default_na=False, skipinitialspace=True, index_col=False)
    except (pd.errors.ParserError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path}: not a readable CSV file ({str(error).strip()})") from None
    frame = frame[(frame != "").any(axis=1)]
    if separator == ";":
        decimals = [c for c in frame.columns if frame[c].head(50).str.fullmatch(r"-?\d+,\d+").any()]
        for column in decimals:
            frame[column] = frame[column].str.replace(",", ".")
    return Table(path, frame, {}, "line", 2)


def _renamed(table: Table) -> list[str]:
    names: list[str] = []
    for name in map(str, table.frame.columns):
        plain = re.sub(r"[^a-z0-9]", "", name.lower())
        names.append(_MEANING.get(plain) or _MEANING.get(plain.lstrip("0123456789")) or f"other:{name}")
    if "timestamp" not in names and "date" not in names and "time" in names:
        names[names.index("time")] = "timestamp"            # one column called "time" holds the whole moment
    twice = sorted({n for n in names if names.count(n) > 1 and not n.startswith("other:")})
    given = ", ".join(map(str, table.frame.columns))
    if twice:
        raise UserError(f"{table.path}: two columns read as {twice[0]} (columns: {given}); rename or drop one")
    missing = [n for n in REQUIRED if n not in names]
    if "timestamp" not in names and "date" not in names:
        missing.insert(0, "timestamp")
    if missing:
        raise UserError(f"{table.path}: no column for {', '.join(missing)} (columns: {given}); name them so")
    return names


def _numbers(table: Table, column: str) -> pd.Series:
    """The column as float64; empty cells are NaN, anything else that is no number is an error."""
    import pandas as pd

    values = table.frame[column]
    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    text = values.astype(str).str.strip().str.lower()
    wrong = numbers.isna() & ~text.isin(("", "nan", "none", "null", "na", "n/a", "<na>"))
    if wrong.any():
        position = int(wrong.index[wrong][0])
        raise UserError(
            f"{table.path}, {table.where(position)}, column {column}: {values.loc[position]!r} is not a number"
        )
    return numbers
