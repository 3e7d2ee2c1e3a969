"""Python for browsers: which version the pages load, and from where.

It comes from Pyodide's public distribution. `PYODIDE=folder-or-archive make book` serves one
from the site instead, and then a page asks no other host.
"""

import json
import os
import shutil
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

from sphinx.errors import ExtensionError

ROOT = Path(__file__).parent.parent
VERSION = "0.27.7"  # what the tests run
HOST = "cdn.jsdelivr.net"
SOURCE = os.environ.get("PYODIDE", "")
CORE = "pyodide.mjs pyodide.asm.js pyodide.asm.wasm python_stdlib.zip"
LOCK = "pyodide-lock.json"


def needs() -> list[str]:
    """What attnlib imports, and what shows a cell's results."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = tomllib.loads(text)["project"]["dependencies"]
    return ["ipython", *(need.partition(">")[0] for need in found)]


def home(live: Path) -> str:
    """Where the pages' worker finds it; in the site, if SOURCE is set."""
    if not SOURCE:
        return f"https://{HOST}/pyodide/v{VERSION}/full/"
    copy(Path(SOURCE), live / "pyodide")
    return "pyodide/"


def copy(source: Path, target: Path) -> None:
    """Take what the pages load from a distribution, a folder or an archive."""
    with TemporaryDirectory() as folder:
        if source.is_file():
            shutil.unpack_archive(source, folder)
            source = Path(folder)
        lock = next(source.rglob(LOCK), source / LOCK)
        target.mkdir(parents=True)
        try:
            packages = json.loads(lock.read_text(encoding="utf-8"))[
                "packages"
            ]
            files, wanted = [LOCK, *CORE.split()], needs()
            for name in wanted:  # grows by what each depends on
                package = packages[name.lower().replace("_", "-")]
                files.append(package["file_name"])
                wanted += set(package["depends"]) - set(wanted)
            for name in files:
                shutil.copyfile(lock.parent / name, target / name)
        except (KeyError, FileNotFoundError) as error:
            raise ExtensionError(
                f"PYODIDE lacks a part: {error}"
            ) from error
