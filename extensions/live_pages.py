"""A page's own cells, run in the reader's browser: the button, and what a click on it loads.

Python comes from Pyodide's public distribution. `PYODIDE=folder-or-archive make book` serves
one from the site instead, and then a page asks no other host.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyodide_files
from docutils import nodes
from katex_math import KATEX
from sphinx.errors import ExtensionError
from theme_figures import DARK, STYLE

HERE = Path(__file__).parent / "live"
PYODIDE = os.environ.get("PYODIDE", "")
# The first page is read; the others need what no browser has: other pages' outputs, ml_dtypes.
LEFT_OUT = ("book/index", "book/13-ledger", "book/real-code")


def add_button(app, name, template, context, doctree):
    cells = doctree.findall(nodes.container) if doctree else ()
    if app.builder.name != "html" or name in LEFT_OUT:
        return
    if any("cell_input" in cell["classes"] for cell in cells):
        button = app.config.live_button.replace(
            "UP/", context["content_root"]
        )
        button = "</h1>\n" + button.replace("SOURCE", context["sourcename"])
        context["body"] = context["body"].replace("</h1>", button, 1)


def add_files(app, exception):
    if exception or app.builder.name != "html":
        return
    live = Path(app.outdir, "live")
    shutil.rmtree(live, ignore_errors=True)
    skipped = shutil.ignore_patterns("button.html", "*.ttf", "*.woff")
    shutil.copytree(HERE, live, ignore=skipped)
    shutil.copytree(KATEX / "dist/fonts", live / "fonts", ignore=skipped)
    for name in ("katex.min.js", "katex.min.css"):
        shutil.copyfile(KATEX / "dist" / name, live / name)
    build = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        live,
    ]
    done = subprocess.run(
        build, cwd=HERE.parent.parent, capture_output=True, text=True
    )
    if done.returncode:
        raise ExtensionError(
            f"live_pages: no wheel of attnlib: {done.stderr}"
        )
    home = f"https://{pyodide_files.HOST}/pyodide/v{pyodide_files.VERSION}/full/"
    if PYODIDE:
        home = "pyodide/"
        pyodide_files.copy(Path(PYODIDE), live / home)
    (wheel,) = live.glob("*.whl")
    site = {
        "pyodide": home,
        "wheel": wheel.name,
        "packages": pyodide_files.needs(),
    }
    site |= {"dark": list(DARK), "style": STYLE}
    (live / "live.json").write_text(json.dumps(site), encoding="utf-8")


def setup(app):
    button = (HERE / "button.html").read_text(encoding="utf-8")
    button = button.replace(
        "HOST", "this site" if PYODIDE else pyodide_files.HOST
    )
    app.add_config_value(
        "live_button", button, "html"
    )  # if it changes, pages are written
    app.connect("html-page-context", add_button)
    app.connect("build-finished", add_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
