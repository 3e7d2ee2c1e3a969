"""The API page: every public name once, where the chapters' listings link to, and its example."""

import ast
import contextlib
import inspect
import io
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup

import attnlib
import attnlib.book
from attnlib import random_energy, retrieval
from attnlib.book.source import API_PAGE, public_name

ROOT = Path(__file__).parent.parent
BOOK = ROOT / "book"


@pytest.fixture(scope="module")
def anchors(tmp_path_factory):
    """The anchors of what a build of this page alone documents, in its order."""
    folder = tmp_path_factory.mktemp("api")
    (folder / API_PAGE).write_bytes((BOOK / API_PAGE).read_bytes())
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    settings = {
        name: value
        for name, value in config["sphinx"]["config"].items()
        if name.startswith(("autodoc", "numpydoc", "default_role"))
    }
    settings |= {"extensions": ["myst_parser", "numpydoc"]}
    settings |= {"root_doc": "api", "html_theme": "basic"}
    (folder / "conf.py").write_text(
        "\n".join(f"{name} = {value!r}" for name, value in settings.items())
    )
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-qn", folder, folder / "html"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    # Alone, the page has no chapters to link to; whatever else it warns of is wrong.
    complaints = re.findall(r"^.*(?:WARNING|ERROR): .*$", done.stderr, re.M)
    assert [c for c in complaints if "unknown document" not in c] == []
    page = (folder / "html" / "api.html").read_text("utf-8")
    soup = BeautifulSoup(page, "html.parser")
    return [entry.get("id") for entry in soup.select("dt.sig")]


def functions(module):
    """Names of the public functions that a module defines."""
    return {
        f"{module.__name__}.{name}"
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
        if not name.startswith("_")
    }


def test_every_public_name_is_documented_once(anchors):
    public = {
        f"{package.__name__}.{name}"
        for package in (attnlib, attnlib.book)
        for name in package.__all__
        if name != "figures"  # a module, whose functions are:
    }
    public |= functions(attnlib.book.figures)
    public |= functions(random_energy) | functions(retrieval)
    assert len(public) > 50
    assert sorted(public - set(anchors)) == []
    # Sphinx gives a second entry of a name an anchor like "id0".
    assert [
        name for name in anchors if not name.startswith("attnlib.")
    ] == []
    assert len(set(anchors)) == len(anchors)


def listings():
    """What the chapters hand to show_source."""
    for path in sorted(BOOK.glob("*.ipynb")):
        names = {"attn": attnlib}
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type != "code":
                continue
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(
                    node, ast.ImportFrom
                ) and node.module.startswith("attnlib"):
                    exec(ast.unparse(node), names)
                if (
                    isinstance(node, ast.Call)
                    and ast.unparse(node.func) == "show_source"
                ):
                    yield from (
                        eval(ast.unparse(a), names) for a in node.args
                    )


def test_every_listing_links_to_an_entry(anchors):
    linked = [public_name(function) for function in listings()]
    assert len(linked) > 30
    assert sorted(set(linked) - set(anchors)) == []


def test_the_example_prints_what_the_page_says():
    page = (BOOK / API_PAGE).read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.S)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(example, {})
    assert len(list(filter(None, example.splitlines()))) == 3
    assert example.rstrip().endswith(f"# {printed.getvalue().rstrip()}")
