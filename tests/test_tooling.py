"""The commands around the book: what they answer where they cannot run, and who calls them."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from working_tree import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.fixture
def clone(tmp_path):
    """What `make lint` reads, in a folder of its own."""
    (tmp_path / "scripts").mkdir()
    for name in ("Makefile", "constraints.txt", "scripts/make_venv.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def run(*command, cwd, **environment):
    """A command's exit status and what it printed, free of the make that runs the tests."""
    inherited = dict(os.environ)
    for name in ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL"):
        inherited.pop(name, None)
    done = subprocess.run(
        command,
        cwd=cwd,
        env=inherited | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.returncode, done.stdout


def make_venv(clone, change="", **environment):
    """Run the script in a Python that was changed beforehand."""
    script = (
        f"import runpy, sys; del sys.argv[0]; {change}\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    arguments = ("scripts/make_venv.py", ".venv", "attnlib-no-such-package")
    return run(
        sys.executable, "-c", script, *arguments, cwd=clone, **environment
    )


# --- one line that says what to do ---


@pytest.mark.parametrize(
    ("change", "environment", "answer"),
    [
        (
            "sys.version_info = (3, 10, 4)",
            {},
            r"needs Python 3\.11 or newer and this is 3\.10\.4",
        ),
        (
            "sys.modules['ensurepip'] = None",
            {},
            "no venv module: apt-get install python3-venv",
        ),
        ("", {"PATH": "/nowhere"}, "git was not found: install it"),
    ],
)
def test_a_missing_prerequisite(clone, change, environment, answer):
    status, said = make_venv(clone, change, **environment)
    assert status and re.search(answer, said)
    assert said.count("\n") == 1
    assert not (clone / ".venv").exists()


def test_no_python(clone):
    status, said = run("make", "lint", "PYTHON=python3.0", cwd=clone)
    assert status and said.startswith(
        "python3.0 was not found: install Python 3.11 or newer"
    )


@pytest.mark.parametrize("goal", ["check", "pdf"])
def test_no_browser(clone, tmp_path, goal):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "grep", "xargs", "rm", "python3"):
        (tools / name).symlink_to(shutil.which(name))
    make = shutil.which("make")
    status, said = run(make, goal, cwd=clone, PATH=str(tools))
    assert status and said.splitlines()[-2] == (
        "No Chromium was found: apt-get install chromium, "
        f"then run make {goal} again"
    )


def test_no_network(clone):
    # Of an environment that is there: to make one takes long.
    python = clone / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (clone / ".venv/dev.installed").touch()
    nowhere = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    }
    status, said = make_venv(clone, PIP_RETRIES="1", **nowhere)
    assert (
        status
        and "index cannot be reached: check the network"
        in said.splitlines()[-1]
    )
    assert (
        "connection broken by" in (clone / ".venv/install.log").read_text()
    )


def test_an_environment_that_moved_is_made_anew(clone):
    mark = clone / ".venv-lint/ruff.installed"
    mark.parent.mkdir()
    mark.write_text(f"{clone}\n")
    assert "make_venv" not in run("make", "-n", "lint", cwd=clone)[1]
    mark.write_text(f"{clone.parent}\n")
    assert "make_venv" in run("make", "-n", "lint", cwd=clone)[1]
    assert not mark.exists()  # without it, make_venv.py clears the folder


# --- the lock, the workflows ---


def test_the_lock_follows_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())[
        "project"
    ]
    extras = project["optional-dependencies"].values()
    wanted = sum(extras, project["dependencies"])
    lock = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if pin := re.match(r"([\w.-]+)==([^ ]+)", line):
            lock.setdefault(pin[1], []).append(pin[2])
    wanted = [Requirement(line) for line in wanted]
    assert {r.name for r in wanted} - lock.keys() == {"torch"}, (
        "run scripts/lock.sh"
    )
    for r in wanted:
        assert all(
            r.specifier.contains(version)
            for version in lock.get(r.name, [])
        ), str(r)


def jobs(path):
    return yaml.safe_load(path.read_text())["jobs"].items()


def commands(path):
    """Every command of a workflow, for each row of its matrix."""
    for _, job in jobs(path):
        matrix = job.get("strategy", {}).get("matrix", {})
        for row in matrix.get("include", [{}]):
            for step in job["steps"]:
                pieces = re.split(
                    r"\$\{\{ matrix\.(\w+) \}\}", step.get("run", "")
                )
                pieces[1::2] = [row[name] for name in pieces[1::2]]
                yield "".join(pieces)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_what_exists(path):
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
    called = "\n".join(commands(path))
    made = re.findall(r"\bmake ([a-z ]+)$", called, re.MULTILINE)
    assert made and set(" ".join(made).split()) <= targets
    for script in re.findall(r"[\w./]*(?:\.ci/|scripts/)[\w./]+", called):
        assert os.access(ROOT / script, os.X_OK), script


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_end_and_pin_their_actions(path):
    for name, job in jobs(path):
        assert job["timeout-minutes"] <= 60, name
        for step in job["steps"]:
            action = step.get("uses", "a/a@v1")
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action), name


def test_first_page_says_how_to_cite():
    """As CITATION.cff does."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    cells = json.loads((ROOT / "book/index.ipynb").read_text("utf-8"))[
        "cells"
    ]
    page = "".join(cells[-1]["source"])
    block = re.search(r"```bibtex\n(.*?)```", page, re.S)[1]
    assert f"title  = {{{cited['title']}}}" in block
    (author,) = cited["authors"]
    assert f"author = {{{{{author['name']}}}}}" in block


def test_both_readmes_list_the_same_pages_and_lead_to_each_other():
    english, chinese = (
        (ROOT / name).read_text("utf-8")
        for name in ("README.md", "README.zh-CN.md")
    )
    assert "](README.zh-CN.md)" in english and "](README.md)" in chinese
    pages = [
        re.findall(r"^\| \[[^]]+\]\((book/\S+)\)", text, re.M)
        for text in (english, chinese)
    ]
    assert pages[0] == pages[1] != []
