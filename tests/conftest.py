"""Shared by all tests: the checkout's code, one thread per numeric library, a home of its own for every test.

Property-based tests draw the same examples every time and have no clock; ``pytest --hypothesis-profile=explore`` draws
new ones, and prints what reproduces a failure.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))                   # tests beside the code test that code, however it is installed

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")           # before a test imports numpy: two workers share two cores

_UNHURRIED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]      # the fixtures are read, not changed
settings.register_profile("fixed", deadline=None, derandomize=True, suppress_health_check=_UNHURRIED)
settings.register_profile("explore", settings.get_profile("fixed"), derandomize=False, print_blob=True)
settings.load_profile("fixed")

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
