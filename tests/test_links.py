"""Launch, edit and repository links lead to whoever publishes the book, or are left out."""

import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from bs4 import BeautifulSoup
from working_tree import ROOT, copy_working_tree, git

repository = SimpleNamespace(**runpy.run_path(str(ROOT / "extensions" / "repository.py")))
BRANCH = "trunk"
FORK = "https://github.com/example/fork"
NO_ADDRESS = "no repository address: launch and edit buttons are left out"


@pytest.fixture(autouse=True, scope="module")
def no_settings():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BOOK_REPOSITORY", "GITHUB_REF_NAME", "GIT_DIR", "GIT_WORK_TREE"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture
def clone(tmp_path):
    git(tmp_path, "init", "--quiet", f"--initial-branch={BRANCH}")
    return tmp_path


# The address


@pytest.mark.parametrize(
    "remote",
    [
        "https://github.com/example/fork",
        "https://github.com/example/fork/",
        "https://github.com/example/fork.git",
        "https://github.com/example/fork.git/",
        "http://github.com/example/fork",
        "https://user:token@github.com/example/fork.git",
        "https://token@github.com/example/fork",
        "git@github.com:example/fork.git",
        "github.com:example/fork",
        "ssh://git@github.com/example/fork.git",
        "ssh://git@github.com:22/example/fork.git",
        "git://github.com/example/fork.git",
    ],
)
def test_address_of_a_remote(clone, remote):
    git(clone, "remote", "add", "origin", remote)
    assert repository.repository_address(clone) == FORK


@pytest.mark.parametrize(
    "remote",
    [
        "/srv/git/book.git",
        "../book",
        "file:///srv/git/book.git",
        "C:/Users/reader/book",
        r"C:\Users\reader\book",
        "alias:example/fork",
        "http://localhost:3000/example/fork",
        "https://github.com/",
    ],
)
def test_no_address_of_a_remote_that_is_not_public(clone, remote):
    git(clone, "remote", "add", "origin", remote)
    assert repository.repository_address(clone) is None


def test_no_address_without_remote_repository_or_git(clone, tmp_path_factory, monkeypatch):
    assert repository.repository_address(clone) is None
    assert repository.repository_address(tmp_path_factory.mktemp("no-repository")) is None
    git(clone, "remote", "add", "origin", FORK)
    (clone / "copy").mkdir()
    assert repository.repository_address(clone / "copy") is None
    monkeypatch.setenv("PATH", "")
    assert repository.repository_address(clone) is None


def test_setting_comes_before_remote(clone, monkeypatch):
    git(clone, "remote", "add", "origin", "https://github.com/example/upstream")
    monkeypatch.setenv("BOOK_REPOSITORY", "https://user:token@github.com/example/fork.git")
    assert repository.repository_address(clone) == FORK


def test_branch(clone, monkeypatch):
    assert repository.branch(clone) == BRANCH
    author = ["-c", "user.name=reader", "-c", "user.email=reader@example.org"]
    git(clone, *author, "commit", "--quiet", "--allow-empty", "--message=first")
    git(clone, "checkout", "--quiet", "--detach")
    assert repository.branch(clone) == "main"
    monkeypatch.setenv("GITHUB_REF_NAME", "v1.0")
    assert repository.branch(clone) == "v1.0"


@pytest.mark.parametrize(
    "address, launchers",
    [
        ("https://github.com/example/fork", {"binderhub_url", "colab_url"}),
        ("https://gitlab.com/example/fork", {"binderhub_url"}),
        ("https://gitlab.com/group/subgroup/fork", set()),  # the theme's link would be wrong
        ("https://gitlab.example.org/example/fork", set()),
    ],
)
def test_launchers_of_a_host(address, launchers):
    configured = {"binderhub_url": "https://mybinder.org", "colab_url": "https://colab.example"}
    options = repository.button_options(address, "a/branch", configured)
    assert set(options["launch_buttons"]) == launchers
    assert options["repository_url"] == address and options["use_edit_page_button"]


def test_unknown_host_has_no_buttons():
    assert repository.button_options("https://git.example.org/example/fork", "main", {}) == {}


# The links of the built pages


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A copy of the book that shows its stored outputs instead of executing anything."""
    root = copy_working_tree(tmp_path_factory.mktemp("book"))
    config = root / "_config.yml"
    before = config.read_text(encoding="utf-8")
    after = before.replace("execute_notebooks: cache", "execute_notebooks: off")
    assert after != before
    config.write_text(after, encoding="utf-8")
    git(root, "init", "--quiet", f"--initial-branch={BRANCH}")
    return root


def build(root, origin):
    """Build with this origin; returns what was printed and the pages' parsed HTML."""
    if git(root, "remote"):
        git(root, "remote", "remove", "origin")
    if origin:
        git(root, "remote", "add", "origin", origin)
    command = Path(sys.executable).with_name("jupyter-book")
    done = subprocess.run([command, "build", "."], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {
        page.relative_to(root / "_build" / "html").with_suffix("").as_posix(): BeautifulSoup(
            page.read_text(encoding="utf-8"), "html.parser"
        )
        for page in (root / "_build" / "html" / "book").rglob("*.html")
    }
    assert pages
    return done.stdout, pages


def buttons(page):
    links = (a["href"] for a in page.select(".article-header-buttons a[href]"))
    return {link for link in links if link.startswith("http")}


def test_every_button_leads_to_the_fork(book):
    printed, pages = build(book, f"{FORK}.git")
    assert NO_ADDRESS not in printed
    for name, page in pages.items():
        (source,) = (file for file in book.glob(f"{name}.*") if file.suffix in (".ipynb", ".md"))
        path = source.relative_to(book).as_posix()
        expected = {
            FORK,
            f"{FORK}/edit/{BRANCH}/{path}",
            f"{FORK}/issues/new?title=Issue%20on%20page%20%2F{name}.html"
            "&body=Your%20issue%20content%20here.",
        }
        if source.suffix == ".ipynb":
            launch = f"example/fork/{BRANCH}?urlpath=lab/tree/{path}"
            expected.add(f"https://mybinder.org/v2/gh/{launch}")
            colab = "https://colab.research.google.com/github/example/fork"
            expected.add(f"{colab}/blob/{BRANCH}/{path}")
        assert buttons(page) == expected, name


@pytest.mark.parametrize("origin", [None, "/srv/git/book.git"], ids=["no-remote", "local-path"])
def test_no_buttons_without_a_public_address(book, origin):
    printed, pages = build(book, origin)
    assert printed.count(NO_ADDRESS) == 1
    for name, page in pages.items():
        assert buttons(page) == set(), name
        assert "mybinder.org/v2" not in str(page), name
