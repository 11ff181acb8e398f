"""Shared by all tests: the checkout's code, one thread per numeric library, a home of its own for every test."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))                   # tests beside the code test that code, however it is installed

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")           # before a test imports numpy: two workers share two cores

_SECRETS = ("ALPACA_API_KEY", "ALPACA_SECRET_KEY", "ALPACA_BASE_URL", "REDIS_HOST", "REDIS_PORT")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home that every test writes to, whatever the developer's environment says."""
    folder = tmp_path / "home"
    monkeypatch.setenv("ALPHATRADE_HOME", str(folder))
    for name in _SECRETS:
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT
