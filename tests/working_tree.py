"""The working tree as a clone would hold it: tracked and new files, nothing that git ignores."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def git(folder, *arguments):
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def copy_working_tree(destination):
    if not (ROOT / ".git").exists():
        pytest.skip(
            "needs the book's git repository, to know which files belong to the book"
        )
    for name in git(ROOT, "ls-files", "-coz", "--exclude-standard").split(
        "\0"
    ):
        if name and (ROOT / name).is_file():
            (destination / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, destination / name)
    return destination
