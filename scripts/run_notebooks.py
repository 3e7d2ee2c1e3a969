"""Executes notebooks in place, in one normal form: a diff shows only what changed.

    python scripts/run_notebooks.py [--check] [book/03-softmax.ipynb ...]

Without paths: every chapter. With --check nothing is executed or written. A
notebook with a failing cell, or one that writes to stderr, is left as it
was.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 120  # seconds for one cell, as in _config.yml

KERNEL = {
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}
# Settings of the book; the rest belongs to editors.
KEPT_IN_NOTEBOOK = ("mystnb",)
KEPT_IN_CELL = ("tags", "mystnb", "jupyter", "live_seconds")

INSTALL_CELL = """\
import sys

if "google.colab" in sys.modules:
    """
# Its script runs where the cell runs; stored, each change of it would change many notebooks.
EXPLORABLE = re.compile(
    r'(</explorable-\w+>)<script type="module">.*</script>', re.S
)
INSTALL = re.compile(r"git\+(\S+)")
NO_ADDRESS = """\
raise RuntimeError(
        "The address of the book's repository is not set here: "
        "`make notebooks` in a clone with a GitHub origin sets it."
    )"""


def read(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["nbformat_minor"] = 5  # from here on every cell has an id
    return nbformat.reads(json.dumps(notebook), as_version=4)


def set_install_cell(notebook, address):
    """On Colab the first cell installs attnlib; None keeps the address it has."""
    cell = next((c for c in notebook.cells if c.cell_type == "code"), None)
    if cell is None or "colab-install" not in cell.metadata.get("tags", []):
        return
    if not address and (present := INSTALL.search(cell.source)):
        address = present[1]
    action = (
        f"%pip install --quiet git+{address}" if address else NO_ADDRESS
    )
    cell.source = INSTALL_CELL + action


def kept(metadata, names):
    return nbformat.from_dict(
        {k: v for k, v in metadata.items() if k in names and v}
    )


def normal_form(notebook):
    """The text of a notebook without what editors leave behind, and without scripts of explorables."""
    notebook.metadata = kept(notebook.metadata, KEPT_IN_NOTEBOOK) | KERNEL
    for cell in notebook.cells:
        cell.metadata = kept(cell.metadata, KEPT_IN_CELL)
        for output in cell.get("outputs", []):
            if html := output.get("data", {}).get("text/html"):
                output["data"]["text/html"] = EXPLORABLE.sub(r"\1", html)
    return nbformat.writes(notebook) + "\n"


def refuse_stderr(notebook):
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                raise ValueError(
                    f"{cell.source}\nwrites to stderr: {output.text}"
                )


def run(path, address):
    """Execute one notebook and write its normal form; True if the file changed."""
    before = path.read_text(encoding="utf-8")
    notebook = read(path)
    set_install_cell(notebook, address)
    NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        coalesce_streams=True,
    ).execute()
    refuse_stderr(notebook)
    after = normal_form(notebook)
    path.write_text(after, encoding="utf-8")
    return after != before


def check(path):
    """Refuse a notebook that is not stored in its normal form."""
    notebook = read(path)
    set_install_cell(notebook, None)
    if normal_form(notebook) != path.read_text(encoding="utf-8"):
        raise ValueError(f"not normalised: make notebooks NB={path}")


def repository_address():
    sys.path.insert(0, str(ROOT / "extensions"))
    from repository import repository_address

    return repository_address(ROOT)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="change nothing"
    )
    parser.add_argument(
        "paths", nargs="*", type=Path, help="default: book/*.ipynb"
    )
    arguments = parser.parse_args()
    address = None if arguments.check else repository_address()

    refused = 0
    for path in arguments.paths or sorted(ROOT.glob("book/*.ipynb")):
        try:
            if arguments.check:
                check(path)
            else:
                changed = run(path, address)
                print(
                    f"{path}: {'written' if changed else 'unchanged'}",
                    flush=True,
                )
        except (
            ValueError,
            OSError,
            RuntimeError,
            CellControlSignal,
        ) as error:
            refused += 1
            print(f"{path}: {error}", file=sys.stderr)
    return bool(refused)


if __name__ == "__main__":
    sys.exit(main())
