"""Launch, edit and repository links lead to whoever publishes the book, or are left out."""

import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from bs4 import BeautifulSoup, SoupStrainer
from jupyter_book.config import get_final_config
from working_tree import ROOT, copy_working_tree, git

repository = SimpleNamespace(
    **runpy.run_path(str(ROOT / "extensions" / "repository.py"))
)
BRANCH = "trunk"
FORK = "https://github.com/example/fork"
PAGES = (
    "index.ipynb",
    "05-collapse.ipynb",
    "13-ledger.ipynb",
    "notation.md",
    "references.md",
)
NO_ADDRESS = "no repository address: launch and edit buttons are left out"


@pytest.fixture(autouse=True, scope="module")
def no_settings():
    with pytest.MonkeyPatch.context() as patch:
        for name in (
            "BOOK_REPOSITORY",
            "GITHUB_REF_NAME",
            "GIT_DIR",
            "GIT_WORK_TREE",
        ):
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
        "GitHub.com:example/fork",
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
        "https://github.com/example",
        "https://github.com/example/fork/wiki",
        "https://github.com.example.org/example/fork",
        "https://example.org/github.com/example/fork",
        "https://gitlab.com/example/fork",
    ],
)
def test_no_address_of_a_remote_that_is_not_on_github(clone, remote):
    git(clone, "remote", "add", "origin", remote)
    assert repository.repository_address(clone) is None


def test_no_address_without_remote_repository_or_git(
    clone, tmp_path_factory, monkeypatch
):
    assert repository.repository_address(clone) is None
    assert (
        repository.repository_address(
            tmp_path_factory.mktemp("no-repository")
        )
        is None
    )
    git(clone, "remote", "add", "origin", FORK)
    (clone / "copy").mkdir()
    assert repository.repository_address(clone / "copy") is None
    monkeypatch.setenv("PATH", "")
    assert repository.repository_address(clone) is None


def test_setting_comes_before_remote(clone, monkeypatch):
    git(
        clone,
        "remote",
        "add",
        "origin",
        "https://github.com/example/upstream",
    )
    monkeypatch.setenv(
        "BOOK_REPOSITORY", "https://user:token@github.com/example/fork.git"
    )
    assert repository.repository_address(clone) == FORK


def test_branch(clone, monkeypatch):
    assert repository.branch(clone) == BRANCH
    author = [
        "-c",
        "user.name=reader",
        "-c",
        "user.email=reader@example.org",
    ]
    git(
        clone,
        *author,
        "commit",
        "--quiet",
        "--allow-empty",
        "--message=first",
    )
    git(clone, "checkout", "--quiet", "--detach")
    assert repository.branch(clone) == "main"
    monkeypatch.setenv("GITHUB_REF_NAME", "v1.0")
    assert repository.branch(clone) == "v1.0"


# The buttons


@pytest.fixture
def config():
    """The settings of the book as jupyter-book hands them to Sphinx."""
    final, _ = get_final_config(
        user_yaml=ROOT / "_config.yml",
        sourcedir=ROOT,
        cli_config={"latex_individualpages": False},
    )
    return SimpleNamespace(**final)


def test_buttons_of_an_address(clone, config):
    git(clone, "remote", "add", "origin", FORK)
    git(clone, "checkout", "--quiet", "-b", "a/branch+1")
    before = dict(config.html_theme_options)
    repository.set_theme_options(SimpleNamespace(srcdir=clone), config)
    after = config.html_theme_options
    assert after["repository_url"] == FORK
    assert after["repository_branch"] == "a/branch%2B1"
    assert after["launch_buttons"] == before["launch_buttons"]
    assert after["extra_footer"] == before["extra_footer"] != ""


@pytest.mark.parametrize(
    "origin", [None, "/srv/git/book.git"], ids=["no-remote", "local-path"]
)
def test_no_buttons_without_an_address(clone, config, origin, caplog):
    if origin:
        git(clone, "remote", "add", "origin", origin)
    with caplog.at_level("INFO", logger="sphinx"):
        repository.set_theme_options(SimpleNamespace(srcdir=clone), config)
    assert [m.startswith(NO_ADDRESS) for m in caplog.messages] == [True]
    options = config.html_theme_options
    assert not options["launch_buttons"]
    assert [k for k in options if k.startswith("repository_")] == []
    assert [
        k for k, v in options.items() if k.startswith("use_") and v
    ] == []


# The links of the built pages


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A page of each kind on a branch of a fork, built from their stored outputs."""
    root = copy_working_tree(tmp_path_factory.mktemp("book"))
    for page in {*root.glob("book/*.ipynb"), *root.glob("book/*.md")}:
        if page.name not in PAGES:
            page.unlink()
    (root / "_toc.yml").write_text(
        yaml.safe_dump(
            {
                "format": "jb-book",
                "root": "book/index",
                "chapters": [
                    {"file": f"book/{name}"} for name in PAGES[1:]
                ],
            }
        ),
        encoding="utf-8",
    )
    config = root / "_config.yml"
    before = config.read_text(encoding="utf-8")
    after = before.replace(
        "execute_notebooks: cache", "execute_notebooks: off"
    )
    assert after != before
    config.write_text(after, encoding="utf-8")
    (root / "node_modules").symlink_to(ROOT / "node_modules")
    git(root, "init", "--quiet", f"--initial-branch={BRANCH}")
    git(root, "remote", "add", "origin", f"{FORK}.git")
    command = Path(sys.executable).with_name("jupyter-book")
    done = subprocess.run(
        [command, "build", "."], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert NO_ADDRESS not in done.stdout
    return root


def buttons(page):
    """Addresses on other hosts in the row of buttons above a page."""
    row = SoupStrainer(class_="article-header-buttons")
    soup = BeautifulSoup(
        page.read_text(encoding="utf-8"), "html.parser", parse_only=row
    )
    return {a["href"] for a in soup.select("a[href^=http]")}


def test_every_button_leads_to_the_fork(book):
    html = book / "_build" / "html"
    pages = sorted(html.glob("book/**/*.html"))
    assert len(pages) >= len(PAGES)
    for page in pages:
        name = page.relative_to(html).with_suffix("").as_posix()
        if 'http-equiv="refresh"' in page.read_text(encoding="utf-8"):
            continue  # the old address of a page that moved
        (source,) = (
            file
            for file in book.glob(f"{name}.*")
            if file.suffix in (".ipynb", ".md")
        )
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
