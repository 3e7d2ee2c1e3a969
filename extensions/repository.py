"""Where the book is published: its repository, launch and edit buttons follow the git remote.

The address is the environment variable BOOK_REPOSITORY, else `git remote get-url origin`,
so that a fork's buttons open the fork. Without a public address there are no such buttons.
"""

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import quote, urlsplit

NO_ADDRESS = (
    "no repository address: launch and edit buttons are left out "
    "(git remote add origin … or BOOK_REPOSITORY=…)"
)


def repository_address(root: Path) -> str | None:
    """The repository's web address (https://host/owner/name), or None where there is none."""
    if setting := os.environ.get("BOOK_REPOSITORY"):
        return web_address(setting)
    # An unpacked copy inside somebody else's repository is not that repository.
    if _git(root, "rev-parse", "--show-prefix") != "":
        return None
    return web_address(_git(root, "remote", "get-url", "origin") or "")


def branch(root: Path) -> str:
    """The branch that HEAD is on; on a detached HEAD what GITHUB_REF_NAME says, else main."""
    on_branch = _git(root, "symbolic-ref", "--quiet", "--short", "HEAD")
    return on_branch or os.environ.get("GITHUB_REF_NAME") or "main"


def web_address(remote: str) -> str | None:
    """The page that belongs to a git remote; credentials, port of ssh and `.git` are dropped."""
    if scp_like := re.fullmatch(r"(?:[^@/:]+@)?([^@/:]+):(?!//)(.+)", remote.strip()):
        remote = "ssh://{}/{}".format(*scp_like.groups())
    parts = urlsplit(remote.strip())
    path = parts.path.strip("/").removesuffix(".git").strip("/")
    host = parts.hostname or ""
    # A name without a dot is this machine, a drive letter or an ssh alias: nothing to link to.
    if parts.scheme not in ("https", "http", "ssh", "git") or "." not in host or "/" not in path:
        return None
    port = f":{parts.port}" if parts.port and parts.scheme in ("https", "http") else ""
    return f"https://{host}{port}/{path}"


def button_options(address: str, branch: str, launch_buttons: dict) -> dict:
    """The theme's options for an address; empty for a host whose links the theme cannot make."""
    host, *path = address.removeprefix("https://").split("/")
    provider = next((name for name in ("github", "gitlab") if name in host), None)
    if provider is None:
        return {}
    # Binder and Colab fetch from the public hosts only, Colab from GitHub alone.
    launch = dict(launch_buttons)
    if host not in ("github.com", "gitlab.com") or len(path) != 2:
        launch = {}
    elif provider != "github":
        launch.pop("colab_url", None)
    return {
        "repository_url": address,
        "repository_provider": provider,
        "repository_branch": quote(branch),
        "use_repository_button": True,
        "use_edit_page_button": True,
        "use_issues_button": True,
        "launch_buttons": launch,
    }


def _git(root: Path, *arguments: str) -> str | None:
    """What a git command prints; None if it fails or there is no git."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def set_theme_options(app, config):
    root = Path(app.srcdir)
    address = repository_address(root)
    # jupyter-book fills in a repository of its own when the book names none.
    options = {
        k: v for k, v in config.html_theme_options.items() if not k.startswith("repository_")
    }
    launch = options.pop("launch_buttons", {})
    buttons = button_options(address, branch(root), launch) if address else {}
    if not buttons:
        from sphinx.util import logging

        reason = f"the theme has no links for {address}: " if address else ""
        logging.getLogger(__name__).info(reason + NO_ADDRESS)
    config.html_theme_options = options | buttons


def setup(app):
    app.connect("config-inited", set_theme_options)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
