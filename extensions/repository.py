"""Where the book is published: its repository, launch and edit buttons follow the git remote.

The address is the environment variable BOOK_REPOSITORY, else `git remote get-url origin`,
so that a fork's buttons open the fork. Without an address on GitHub there are no such buttons.
"""

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import quote

from sphinx.util import logging

NO_ADDRESS = (
    "no repository address: launch and edit buttons are left out "
    "(git remote add origin … or BOOK_REPOSITORY=…)"
)

# As https, as ssh or as scp writes it; credentials, port and `.git` are not part of the address.
GITHUB = re.compile(
    r"((https?|ssh|git)://)?([^@/]+@)?github\.com(:\d+/|[:/])"
    r"(?P<book>[^/:]+/[^/]+?)(\.git)?/?",
    re.IGNORECASE,
)


def repository_address(root: Path) -> str | None:
    """The repository's web address (https://github.com/owner/name), or None where there is none."""
    remote = os.environ.get("BOOK_REPOSITORY")
    # An unpacked copy inside somebody else's repository is not that repository.
    if not remote and _git(root, "rev-parse", "--show-prefix") == "":
        remote = _git(root, "remote", "get-url", "origin")
    found = GITHUB.fullmatch((remote or "").strip())
    return f"https://github.com/{found['book']}" if found else None


def branch(root: Path) -> str:
    """The branch that HEAD is on; on a detached HEAD what GITHUB_REF_NAME says, else main."""
    on_branch = _git(root, "symbolic-ref", "--quiet", "--short", "HEAD")
    return on_branch or os.environ.get("GITHUB_REF_NAME") or "main"


def with_buttons(options: dict, address: str | None, branch: str) -> dict:
    """The theme's options with the buttons of an address, or with none at all."""
    # jupyter-book fills in a repository of its own when the book names none.
    options = {
        k: v for k, v in options.items() if not k.startswith("repository_")
    }
    if address is None:
        return options | {"launch_buttons": {}}
    return options | {
        "repository_url": address,
        "repository_provider": "github",
        "repository_branch": quote(branch),
        "use_repository_button": True,
        "use_edit_page_button": True,
        "use_issues_button": True,
    }


def _git(root: Path, *arguments: str) -> str | None:
    """What a git command prints; None if it fails or there is no git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def set_theme_options(app, config):
    root = Path(app.srcdir)
    address = repository_address(root)
    if address is None:
        logging.getLogger(__name__).info(NO_ADDRESS)
    config.html_theme_options = with_buttons(
        config.html_theme_options, address, branch(root)
    )


def setup(app):
    app.connect("config-inited", set_theme_options)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
