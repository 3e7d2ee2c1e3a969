"""Binder: the Dockerfile that repo2docker writes for the book, and its steps carried out."""

import re
import shlex
import subprocess
import sys

import pytest
from working_tree import ROOT, copy_working_tree

pytestmark = pytest.mark.needs_repo2docker

# repo2docker spells an install step so; the folder stands for the environment it makes.
INSTALL = re.compile(
    r"^RUN \$\{KERNEL_PYTHON_PREFIX\}/bin/pip (install .*)$", re.MULTILINE
)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return copy_working_tree(tmp_path_factory.mktemp("clone"))


@pytest.fixture(scope="module")
def plan(clone):
    """Everything that repo2docker says it would do, the Dockerfile included."""
    done = run(
        sys.executable,
        "-m",
        "repo2docker",
        "--no-build",
        "--debug",
        ".",
        cwd=clone,
    )
    return done.stdout


def run(*command, cwd):
    """Run a command in a folder; where it fails, show the end of what it printed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done


def test_uses_our_python(plan):
    wanted = (
        (ROOT / "runtime.txt").read_text().strip().removeprefix("python-")
    )
    assert f"Building conda environment for python={wanted}\n" in plan
    # The environment's lock file carries the version too, escaped as repo2docker does.
    assert "environment-2epy-2d" + wanted.replace(".", "-2e") in plan


def test_installs_requirements_then_the_book(plan):
    steps = [shlex.split(step)[1:] for step in INSTALL.findall(plan)]
    assert steps == [
        ["--no-cache-dir", "-r", "requirements.txt"],
        ["--no-cache-dir", "."],
    ]
    # Both need the whole book in place: one installs from the folder, the other reads the lock.
    assert plan.index("COPY --chown=0:0 src/ ${REPO_DIR}/") < plan.index(
        INSTALL.search(plan)[0]
    )


def test_every_chapter_runs_after_these_steps(clone, plan, tmp_path):
    run(sys.executable, "-m", "venv", "environment", cwd=tmp_path)
    programs = tmp_path / "environment" / "bin"
    for step in INSTALL.findall(plan):
        run(programs / "pip", *shlex.split(step), cwd=clone)
    chapters = sorted(
        path.name for path in (clone / "book").glob("*.ipynb")
    )
    assert chapters
    # Started from the folder of the notebooks, as JupyterLab starts them.
    run(
        programs / "jupyter",
        "execute",
        "--timeout=120",
        *chapters,
        cwd=clone / "book",
    )
    run(programs / "jupyter", "lab", "--version", cwd=clone)
