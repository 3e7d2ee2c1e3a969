"""Notebooks as they are stored: reading them, and making small ones for the tests of the tests."""

import ast
import json
import re
from pathlib import Path

BOOK = Path(__file__).resolve().parents[1] / "book"


def read(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def text(lines):
    """nbformat stores text as one string or as a list of lines."""
    return lines if isinstance(lines, str) else "".join(lines)


def code_cells(notebook):
    """The code cells that hold something."""
    cells = notebook["cells"]
    return [
        c
        for c in cells
        if c["cell_type"] == "code" and text(c["source"]).strip()
    ]


def tree(cell):
    """Syntax tree of a code cell; a line of IPython's % or ! becomes `pass`."""
    return ast.parse(
        re.sub(
            r"^([ \t]*)[%!].*$", r"\1pass", text(cell["source"]), flags=re.M
        )
    )


def calls(cell, name):
    """Every call of ``name`` or ``something.name`` in a code cell."""
    for node in ast.walk(tree(cell)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called == name or called.endswith("." + name):
                yield node


def output_texts(cell, *kinds):
    """What a cell's outputs say in the given kinds ("stream" or mime types)."""
    for output in cell["outputs"]:
        if output["output_type"] == "stream" and "stream" in kinds:
            yield text(output["text"])
        for kind, content in output.get("data", {}).items():
            if kind in kinds:
                yield text(content)


def code(source, *outputs, count=1, **metadata):
    return {
        "cell_type": "code",
        "source": source,
        "outputs": list(outputs),
        "metadata": metadata,
        "execution_count": count,
        "id": f"code-{count}",
    }


def markdown(source):
    return {
        "cell_type": "markdown",
        "source": source,
        "metadata": {},
        "id": "text",
    }


def stream(words, name="stdout"):
    return {"output_type": "stream", "name": name, "text": words}


def shown(**data):
    kinds = {"plain": "text/plain", "html": "text/html", "png": "image/png"}
    content = {kinds[k]: v for k, v in data.items()}
    return {"output_type": "display_data", "data": content, "metadata": {}}


def notebook(*cells):
    kernel = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    return {
        "cells": list(cells),
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
