"""Cached outputs are as good as everything they were computed from.

myst-nb recognises a cached notebook by its own code. Here the cache folder is named after what
the notebooks import and read, so that a change there executes them all again.
"""

import hashlib
import logging
import shutil
from pathlib import Path

INPUTS = (
    "attnlib/**/*.py",
    "attnlib/**/*.js",
    "attnlib/**/*.css",
    "book/claims.yml",
    "book/data/**/*",
    "constraints.txt",
)
LEDGER = "book/13-ledger"  # it reads the outputs of all the other chapters


def digest(root: Path) -> str:
    """A short name for the present content of all INPUTS under root."""
    content = hashlib.sha256()
    for path in sorted(
        {path for pattern in INPUTS for path in root.glob(pattern)}
    ):
        if path.is_file():
            data = path.read_bytes()
            content.update(
                f"{path.relative_to(root).as_posix()} {len(data)}\n".encode()
                + data
            )
    return content.hexdigest()[:16]


def choose_cache(app, config):
    # One for all builds of this folder.
    caches = Path(app.srcdir) / "_build" / ".jupyter_cache"
    current = caches / digest(Path(app.srcdir))
    for entry in caches.glob("*"):
        if entry.is_dir() and entry != current:
            shutil.rmtree(entry)
    # A changed value of this setting also makes Sphinx read every page again.
    config.nb_execution_cache_path = str(current)


def ledger_follows(app, env, added, changed, removed):
    """Read the ledger again whenever any page changed."""
    stale = LEDGER in env.found_docs and added | changed | removed
    return [LEDGER] if stale else []


class Warned(logging.Handler):
    """Notes whether Sphinx warned of anything."""

    yes = False

    def emit(self, record):
        self.yes = True


warned = Warned(logging.WARNING)


def forget_after_warnings(app, exception):
    """Sphinx warns about a page only when it reads it: let a build that warned start over."""
    if warned.yes or exception:
        environment = Path(app.doctreedir) / "environment.pickle"
        environment.unlink(missing_ok=True)


def setup(app):
    logging.getLogger("sphinx").addHandler(warned)
    app.connect("config-inited", choose_cache)
    app.connect("env-get-outdated", ledger_follows)
    app.connect("build-finished", forget_after_warnings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
