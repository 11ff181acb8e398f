"""Benchmarks are collected only when they are asked for: ``pytest -m bench tests/bench -s``."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """``bench_*.py`` as test modules, when the marker is named."""
    wanted = parent.config.getoption("markexpr") == "bench"
    if wanted and file_path.name.startswith("bench_") and file_path.suffix == ".py":
        return pytest.Module.from_parent(parent, path=file_path)
    return None
