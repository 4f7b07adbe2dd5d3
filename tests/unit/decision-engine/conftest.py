"""Where the evidence's tests find exact vectors and recorded data, and short spellings for outcomes."""

import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], Any]:
    """Reads one file of exact vectors by its name."""
    return lambda name: json.loads((ROOT / "tests" / "vectors" / f"{name}.json").read_text())


@pytest.fixture(scope="session")
def fraction() -> Callable[[dict[str, Any]], Fraction]:
    """The fraction of a vector's numerator and denominator."""
    return lambda said: Fraction(int(said["numerator"]), int(said["denominator"]))


@pytest.fixture(scope="session")
def recorded() -> Callable[[str], Path]:
    """A file of recorded data, which is not part of the repository; without it the test is skipped, loudly."""

    def find(name: str) -> Path:
        shared = Path(os.environ.get("THYMOS_SHARED_DIR") or ROOT.parent / "shared")
        path = shared / "data" / name
        if not path.is_file():
            pytest.skip(f"RECORDED DATA MISSING: no {path}; set THYMOS_SHARED_DIR")
        return path

    return find
