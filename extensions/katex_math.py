"""Formulas are drawn when the book is built, by KaTeX: a page needs no script to show them.

Each is drawn twice, for the eye as HTML and for a screen reader as MathML. A formula that KaTeX
refuses is a warning, and stops the strict build.
"""

import json
import re
import shutil
import subprocess
import sys
from functools import cache
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.locale import _
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

HERE = Path(__file__).parent
KATEX = HERE.parent / "node_modules" / "katex"
# Of this environment, else of the system.
NODE = shutil.which("node", path=Path(sys.executable).parent) or "node"
logger = logging.getLogger(__name__)


def ask_node(program: str, *arguments, given: str = "") -> dict:
    """What one of the programs beside this file answers, as JSON."""
    done = subprocess.run(
        [NODE, HERE / program, *arguments],
        input=given,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    if done.returncode:
        raise ExtensionError(f"{program}: {done.stderr.strip()}")
    return json.loads(done.stdout)


@cache
def node_program() -> subprocess.Popen:
    """Node with katex.mjs, one for each process that writes pages."""
    if not KATEX.is_dir():
        raise ExtensionError(
            "KaTeX is not installed: `make book` does it (npm ci)"
        )
    return subprocess.Popen(
        [NODE, HERE / "katex.mjs"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


@cache
def drawn(tex: str, display: bool) -> dict:
    """What KaTeX makes of a formula: {"html": ...} or {"error": ...}."""
    node = node_program()
    node.stdin.write(json.dumps({"tex": tex, "display": display}) + "\n")
    node.stdin.flush()
    return json.loads(node.stdout.readline())


def draw(tex: str, display: bool, place: nodes.Node) -> str:
    answer = drawn(tex, display)
    if "error" in answer:
        logger.warning("%s", answer["error"], location=place)
    return answer.get("html", escape(tex))


def visit_math(self, node):
    self.body.append(
        self.starttag(
            node, "span", "", CLASS="math notranslate nohighlight"
        )
    )
    self.body.append(draw(node.astext(), False, node) + "</span>")
    raise nodes.SkipNode


def visit_displaymath(self, node):
    self.body.append(
        self.starttag(node, "div", CLASS="math notranslate nohighlight")
    )
    tex = node.astext()
    if node["nowrap"]:
        # Sphinx numbers what has a label; LaTeX's own environments would number it again.
        tex = re.sub(
            r"(\\(begin|end)\{(align|gather|equation))\}", r"\1*}", tex
        )
    elif r"\\" in tex:
        tex = rf"\begin{{split}}{tex}\end{{split}}"
    self.body.append(draw(tex, True, node))
    if node["number"]:
        number = get_node_equation_number(self, node)
        self.body.append(f'<span class="eqno">({number})')
        self.add_permalink_ref(node, _("Link to this equation"))
        self.body.append("</span>")
    self.body.append("</div>")
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer(
        "katex", (visit_math, None), (visit_displaymath, None)
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
