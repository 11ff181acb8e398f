"""What starting costs (in modules, which do not depend on the machine), and what the checkout promises a newcomer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HEAVY = {
    "alpaca", "catboost", "dask", "exchange_calendars", "hmmlearn", "lightgbm", "matplotlib", "numpy", "pandas",
    "plotext", "prometheus_client", "pyarrow", "redis", "requests", "rich", "scipy", "sklearn", "statsmodels", "talib",
    "textual", "websockets", "xgboost",
}


def modules_after(repository: Path, code: str) -> set[str]:
    """Modules in a fresh interpreter after some code."""
    answer = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('MODULES', *sys.modules)"],
        cwd=repository, capture_output=True, text=True, timeout=200, check=False)
    assert "MODULES" in answer.stdout, answer.stderr
    return set(answer.stdout.rpartition("MODULES ")[2].split())


@pytest.mark.parametrize("command", [
    ["--version"], ["status"], ["status", "--json"], ["halt", "--mode", "sim"], ["runs"],
    ["resume", "--mode", "sim", "--yes-resume"],
])
def test_light_commands_stay_light(repository: Path, command: list[str]) -> None:
    code = (
        "import trader.cli.main as m\n"
        f"try: code = m.main({command!r})\n"
        "except SystemExit as e: code = e.code\n"
        "assert code == 0, code")
    modules = modules_after(repository, code)
    assert {name.partition(".")[0] for name in modules} & HEAVY == set()
    assert len(modules) < 250


@pytest.mark.parametrize("module", ["trader.system", "trader.host", "trader.headless"])
def test_the_engine_starts_without_a_screen(repository: Path, module: str) -> None:
    modules = modules_after(repository, f"import {module}")
    assert {name.partition(".")[0] for name in modules} & {"textual", "rich", "console", "plotext"} == set()


def test_the_readmes_commands_are_the_ones_that_ci_runs(repository: Path) -> None:
    install = "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt . && .venv/bin/alphatrade-tui"
    check = "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt '.[dev,cluster]' && .venv/bin/pytest"
    readme = (repository / "README.md").read_text(encoding="utf-8")
    assert install in readme
    assert check in readme
    assert check in (repository / ".ci" / "run").read_text(encoding="utf-8")
    assert os.access(repository / ".ci" / "run", os.X_OK)


def test_every_dependency_is_pinned_to_a_version_that_it_allows(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(r for group in project["optional-dependencies"].values() for r in group)]
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!+]+", line) for line in pins)     # no addresses, no options
    pinned = {canonicalize_name(name): version for name, version in (line.split("==") for line in pins)}
    assert len(pinned) == len(pins)
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"{name} is not in constraints.txt"
        assert requirement.specifier.contains(pinned[name], prereleases=True), f"{requirement} against {pinned[name]}"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_no_place_of_one_machine_is_in_the_tree(repository: Path) -> None:
    if not (repository / ".git").exists():
        pytest.skip("not a checkout")
    places = {f"{folder}/" for folder in (repository.parent, Path.home(), Path(sys.prefix))}
    patterns = [re.escape(place) for place in places - {"//", "/tmp/", "/home/", "/usr/"}]
    patterns += ["--" + "index-url", "extra-" + "index", r"https?://[^ ]*/(simple|packages|registry)/"]
    search = ["git", "grep", "-nIE", "|".join(patterns), "--", "."]
    found = subprocess.run(search, cwd=repository, capture_output=True, text=True, check=False)
    assert found.stdout == ""
