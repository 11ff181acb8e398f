"""Share splits taken out of prices and volumes; the rule for adjusted histories.

- The bundled sample is raw with a list of splits; `apply_splits` takes them out, as of a day where one is given.
- Alpaca adjusts at its side, as of the day of the download (``split`` by default: prices and volumes, dividends left
  in). The mode stands in the manifest and in the dataset's hash; other modes are never mixed with it, and a download
  that finds the stored history adjusted since refuses to go on (`trader.data.download`).
- Dividends are not taken out unless ``--adjustment all`` is asked for: they move a price by a fraction of a per cent at
  an opening, which features that span no night do not see, and adjusting for them makes prices that nobody paid.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np

from trader.core.panel import BarPanel
from trader.core.sessions import session_open_close
from trader.utils.errors import UserError


@dataclass(frozen=True, slots=True)
class Split:
    """``new_shares`` for every ``old_shares``, effective at the opening of ``ex_date``."""

    symbol: str
    ex_date: date
    new_shares: int
    old_shares: int

    @property
    def ratio(self) -> float:
        return self.new_shares / self.old_shares


def read_splits(path: Path) -> list[Split]:
    """The splits in a CSV with columns ``symbol, ex_date, new_shares, old_shares``."""
    splits = []
    with path.open(newline="") as handle:
        for line, row in enumerate(csv.DictReader(handle), start=2):
            try:
                split = Split(
                    row["symbol"], date.fromisoformat(row["ex_date"]), int(row["new_shares"]), int(row["old_shares"])
                )
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(
                    f"{path}, line {line}: {error}; a split is written symbol,ex_date,new_shares,old_shares "
                    "as in AAPL,2005-02-28,2,1"
                ) from None
            splits.append(split)
    return splits


def apply_splits(panel: BarPanel, splits: Iterable[Split], *, as_of_ns: int | None = None) -> BarPanel:
    """A copy with every bar before an ex-date on the new share count: prices divided, volumes multiplied.

    The point-in-time rule: a split that takes effect after ``as_of_ns`` is not applied, so a panel adjusted as of a
    day shows exactly what was known that day. Without ``as_of_ns`` all given splits are applied. Returns, ranges and
    turnover (price × volume) are the same either way; only the level of prices before the ex-date differs, hence
    nothing may be decided from the bare level of an adjusted price (a "$5 filter").

    Price ratios such as 2 and 4 are powers of two, so those divisions are exact in binary.
    """
    copies = {name: getattr(panel, name).copy() for name in ("open", "high", "low", "close", "volume")}
    vwap = None if panel.vwap is None else panel.vwap.copy()
    for split in splits:
        hours = session_open_close(split.ex_date)
        if hours is None:
            raise ValueError(f"{split.symbol} {split.ex_date}: a split takes effect on a session; this day has none")
        if split.symbol not in panel.symbols or (as_of_ns is not None and hours[0] > as_of_ns):
            continue
        column = panel.column(split.symbol)
        before = slice(0, int(np.searchsorted(panel.ts_ns, hours[0])))
        for name, values in copies.items():
            values[before, column] *= split.ratio if name == "volume" else 1.0
            values[before, column] /= 1.0 if name == "volume" else split.ratio
        if vwap is not None:
            vwap[before, column] /= split.ratio
    return replace(panel, **copies, vwap=vwap)
