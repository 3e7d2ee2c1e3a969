"""A page's own cells, run in the reader's browser: the button, and what a click on it loads."""

import contextlib
import json
import shutil
from pathlib import Path
from string import Template

import pyodide_files
from docutils import nodes
from hatchling.build import build_wheel
from katex_math import KATEX
from theme_figures import DARK, STYLE

HERE = Path(__file__).parent
# The first page is read; the others need what no browser has: other pages' outputs, ml_dtypes.
LEFT_OUT = ("book/index", "book/13-ledger", "book/real-code")


def add_button(app, name, template, context, doctree):
    cells = doctree.findall(nodes.container) if doctree else ()
    has_code = any("cell_input" in cell["classes"] for cell in cells)
    if app.builder.name == "html" and has_code and name not in LEFT_OUT:
        button = Template(app.config.live_button).substitute(context)
        body = context["body"]
        context["body"] = body.replace("</h1>", "</h1>\n" + button, 1)


def add_files(app, exception):
    if exception or app.builder.name != "html":
        return
    live = Path(app.outdir, "live")
    shutil.rmtree(live, ignore_errors=True)
    old = shutil.ignore_patterns("*.ttf", "*.woff", "__pycache__")
    shutil.copytree(HERE / "live", live, ignore=old)
    shutil.copytree(KATEX / "dist/fonts", live / "fonts", ignore=old)
    for path in KATEX.glob("dist/katex.min.*"):
        shutil.copy(path, live)
    with contextlib.chdir(HERE.parent):
        wheel = build_wheel(str(live))
    site = {
        "pyodide": pyodide_files.home(live),
        "packages": pyodide_files.needs(),
        "wheel": wheel,
        "dark": list(DARK),
        "style": STYLE,
    }
    (live / "live.json").write_text(json.dumps(site), encoding="utf-8")


def setup(app):
    host = "this site" if pyodide_files.SOURCE else pyodide_files.HOST
    button = (HERE / "live_button.html").read_text(encoding="utf-8")
    button = Template(button).safe_substitute(host=host)
    # As a setting: pages are written anew when it changes.
    app.add_config_value("live_button", button, "html")
    app.connect("html-page-context", add_button)
    app.connect("build-finished", add_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
