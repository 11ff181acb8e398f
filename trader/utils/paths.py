"""Where things live: the home of a session's files, and what the program ships."""

from __future__ import annotations

import os
from pathlib import Path


def home_dir(explicit: str | os.PathLike[str] | None = None) -> Path:
    """The one home of everything a session writes.

    ``explicit`` (``--home``), else ``ALPHATRADE_HOME``, else the current directory where it holds
    ``config/settings.yaml``, else the platform's user data directory. The directory need not exist yet.
    """
    if explicit is not None:
        return Path(explicit).expanduser().absolute()
    from_environment = os.environ.get("ALPHATRADE_HOME")
    if from_environment:
        return Path(from_environment).expanduser().absolute()
    here = Path.cwd()
    if (here / "config" / "settings.yaml").is_file():
        return here
    from platformdirs import user_data_path

    return user_data_path("alphatrade", appauthor=False)


def bundled_dir(name: str) -> Path:
    """A directory the program ships (``config`` or ``data/sample``): from the checkout, else from the wheel."""
    package = Path(__file__).resolve().parent.parent
    for root in (package.parent, package / "bundled"):
        candidate = root / name
        if candidate.is_dir() and (root != package.parent or (root / "pyproject.toml").is_file()):
            return candidate
    raise FileNotFoundError(f"the installation lacks its bundled {name!r}; install alphatrade again")
