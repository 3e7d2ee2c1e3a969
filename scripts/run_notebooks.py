"""Executes notebooks in place and normalises them, so that a diff shows only what changed.

    python scripts/run_notebooks.py [--check] [book/03-softmax.ipynb ...]

Without paths: every chapter. With --check nothing is executed or written. A notebook with a
failing cell, or one that writes to stderr, is left as it was.
"""

import argparse
import hashlib
import json
import os
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 120  # seconds for one cell, as in _config.yml

NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
KEPT_IN_NOTEBOOK = ("mystnb", "myst")  # settings of the book; the rest belongs to editors
KEPT_IN_CELL = ("tags", "mystnb", "jupyter")

INSTALL_TAG = "colab-install"
INSTALL_CELL = """\
import sys

if "google.colab" in sys.modules:
    {action}"""
INSTALL = "%pip install --quiet git+{address}"
NO_ADDRESS = (
    'raise RuntimeError("The address of the book\'s repository is not set here: "\n'
    '                       "`make notebooks` in a clone with a GitHub origin sets it.")'
)


class Refused(Exception):
    """A notebook that is not written, and why."""


def where(number, cell):
    return f"code cell {number} ({cell['id']})"


def read(text):
    """A notebook from its text; cells without an id get one made from their content."""
    content = json.loads(text)
    if content.get("nbformat") != 4:
        raise Refused("not a notebook of format 4")
    content["nbformat_minor"] = 5
    taken = set()
    for cell in content["cells"]:
        cell_id = cell.get("id")
        if not cell_id or cell_id in taken:
            source = "".join(cell["source"])
            tries = (f"{source}{len(taken)}{n}" for n in range(1000))
            ids = (hashlib.sha256(t.encode()).hexdigest()[:8] for t in tries)
            cell_id = next(i for i in ids if i not in taken)
        taken.add(cell_id)
        cell["id"] = cell_id
    return nbformat.reads(json.dumps(content), as_version=4)


def merge_streams(outputs):
    merged = []
    for output in outputs:
        last = merged[-1] if merged else {}
        if output["output_type"] == "stream" == last.get("output_type") and (
            output["name"] == last["name"]
        ):
            last["text"] += output["text"]
        else:
            merged.append(output)
    return merged


def set_install_cell(notebook, address):
    """On Colab the first cell installs attnlib from `address`; None keeps the one it has."""
    cell = next((c for c in notebook.cells if c.cell_type == "code"), None)
    if cell is None or INSTALL_TAG not in cell.metadata.get("tags", []):
        return
    if address is None:
        present = re.search(r"git\+(\S+)", cell.source)
        address = present and present[1]
    action = INSTALL.format(address=address) if address else NO_ADDRESS
    cell.source = INSTALL_CELL.format(action=action)


def normalise(notebook):
    """Drop what editors leave, number the cells that run, join what was printed in pieces."""
    kept = {k: v for k, v in notebook.metadata.items() if k in KEPT_IN_NOTEBOOK}
    notebook.metadata = nbformat.from_dict(kept | NOTEBOOK_METADATA)
    number = 0
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict(
            {k: v for k, v in cell.metadata.items() if k in KEPT_IN_CELL and v}
        )
        if cell.cell_type != "code":
            continue
        number += bool(cell.source.strip())
        cell.execution_count = number if cell.source.strip() else None
        cell.outputs = merge_streams(cell.outputs)
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number


def text_of(notebook):
    return nbformat.writes(notebook, indent=1, ensure_ascii=False).rstrip("\n") + "\n"


def execute(notebook, folder):
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        reached = [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
        number = client.code_cells_executed
        if isinstance(error, CellExecutionError):
            reason = f"{error.ename}: {error.evalue}"
        else:
            reason = str(error)
        reason = " ".join(reason.split())
        raise Refused(f"{where(number, reached[number - 1])}: {reason}") from None


def refuse_errors_and_stderr(notebook):
    code = [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]
    for number, cell in enumerate(code, start=1):
        for output in cell.outputs:
            if output.output_type == "error":
                raise Refused(f"{where(number, cell)}: {output.ename}: {output.evalue}")
            if output.output_type == "stream" and output.name == "stderr":
                words = " ".join(output.text.split())
                raise Refused(f"{where(number, cell)} writes to stderr: {words}")


def repository_address():
    sys.path.insert(0, str(ROOT / "extensions"))
    from repository import repository_address

    return repository_address(ROOT)


def run(path, address):
    """Execute and normalise one notebook; True if the file changed."""
    before = path.read_text(encoding="utf-8")
    notebook = read(before)
    set_install_cell(notebook, address)
    execute(notebook, path.parent)
    normalise(notebook)
    refuse_errors_and_stderr(notebook)
    after = text_of(notebook)
    if after == before:
        return False
    # Replaced in one step: a run that is stopped leaves no half notebook.
    part = path.with_suffix(".part")
    part.write_text(after, encoding="utf-8")
    os.replace(part, path)
    return True


def check(path):
    """Refuse a notebook that this script would write in another form."""
    before = path.read_text(encoding="utf-8")
    notebook = read(before)
    set_install_cell(notebook, None)
    normalise(notebook)
    refuse_errors_and_stderr(notebook)
    if text_of(notebook) != before:
        raise Refused(f"not normalised: make notebooks NB={path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say what is not normalised")
    parser.add_argument("paths", nargs="*", type=Path, help="default: book/*.ipynb")
    arguments = parser.parse_args()
    paths = arguments.paths or sorted(Path(os.path.relpath(ROOT / "book")).glob("*.ipynb"))
    address = None if arguments.check else repository_address()

    refused = 0
    for path in paths:
        try:
            if arguments.check:
                check(path)
            else:
                print(f"{path}: {'written' if run(path, address) else 'unchanged'}", flush=True)
        except (Refused, OSError, ValueError) as error:
            refused += 1
            print(f"{path}: {error}", file=sys.stderr)
    return bool(refused)


if __name__ == "__main__":
    sys.exit(main())
