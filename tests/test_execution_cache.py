"""Cached outputs are thrown away when what the chapters were computed from changes."""

import os
import runpy
import subprocess
import sys

import pytest
from working_tree import ROOT

digest = runpy.run_path(str(ROOT / "extensions" / "execution_cache.py"))[
    "digest"
]


@pytest.fixture
def root(tmp_path):
    for name in (
        "attnlib/softmax.py",
        "book/claims.yml",
        "book/data/x.csv",
        "constraints.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("before\n")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "attnlib/softmax.py",
        "attnlib/deeper/new.py",
        "book/claims.yml",
        "book/data/new.csv",
        "constraints.txt",
    ],
)
def test_change_is_seen(root, name):
    before = digest(root)
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text("after\n")
    assert digest(root) != before


def test_what_does_not_count_is_not_seen(root):
    before = digest(root)
    (root / "attnlib/__pycache__").mkdir()
    (root / "attnlib/__pycache__/softmax.pyc").write_text("compiled\n")
    (root / "README.md").write_text("read me\n")
    assert digest(root) == before


def test_renamed_file_is_seen(root):
    before = digest(root)
    (root / "book/data/x.csv").rename(root / "book/data/y.csv")
    assert digest(root) != before


def build(folder):
    """What Sphinx warns of when it builds this folder, with the extension."""
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-C"]
        + [
            "-D",
            "extensions=myst_parser,execution_cache",
            folder,
            folder / "out/html",
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT / "extensions")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_build_that_warned_starts_over(tmp_path):
    page = tmp_path / "index.md"
    environment = tmp_path / "out/html/.doctrees/environment.pickle"
    page.write_text("# A page\n\n[link](no-page.md)")
    first = build(tmp_path)
    assert "no-page" in first and build(tmp_path) == first
    page.write_text("# A page")
    assert build(tmp_path) == "" and environment.exists()
