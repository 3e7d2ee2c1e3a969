"""The ledger: every claim of the article, and the evidence that chapters record for it.

``book/claims.yml`` lists the claims. In a chapter, `check` holds a claim to a
number and shows one line. `evidence` reads those lines back from the executed
notebooks, and `table` puts claims and evidence side by side (chapter 13).
"""

import csv
import io
import json
import math
import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np
import yaml

from attnlib.book.data import book_file

VERDICTS = ("right", "imprecise", "needs assumptions", "wrong")
_LINE = re.compile(r"^✓ (A\d\d) · (.+)$")


@dataclass(frozen=True)
class Claim:
    """One claim: the article's step in our words, the verdict, and what is true.

    ``chapters`` name the notebooks that hold its evidence.
    """

    id: str
    step: str
    verdict: str
    truth: str
    chapters: tuple = ()


@dataclass(frozen=True)
class Evidence:
    """One line of evidence, as a chapter's output shows it."""

    claim: str
    text: str
    chapter: str = field(default="", compare=False)

    @property
    def anchor(self):
        """The id of the line in the built page, made of the claim and its words."""
        words = re.sub(r"[^a-z0-9]+", "-", self.text.split(": ")[0].lower()).strip("-")
        return f"evidence-{self.claim.lower()}-{words}"

    def __str__(self):
        return f"✓ {self.claim} · {self.text}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        html = f'<p class="evidence" id="{self.anchor}">{escape(str(self))}</p>'
        return {"text/plain": str(self), "text/html": html}


def claims():
    """The claims of ``book/claims.yml`` as {id: Claim}, in the article's order.

    Raises ValueError for a duplicate id or an unknown verdict.
    """
    found = {}
    for entry in yaml.safe_load(book_file("claims.yml").read_text(encoding="utf-8")):
        claim = Claim(**{**entry, "chapters": tuple(entry.get("chapters", ()))})
        if claim.id in found:
            raise ValueError(f"claims.yml lists {claim.id} twice")
        if claim.verdict not in VERDICTS:
            raise ValueError(f"{claim.id}: verdict {claim.verdict!r} is none of {VERDICTS}")
        found[claim.id] = claim
    return found


def check(claim, what, value, *, equals=None, above=None, below=None, tol=0.0):
    """Hold a claim to a number, and show one line of evidence.

    Parameters
    ----------
    claim : str
        An id of the ledger, such as "A11".
    what : str
        What was measured, in a few words without ": ".
    value : a single number, truth value or sympy number
    equals : what it must equal, within ``tol`` in absolute terms; the line shows the value
    above, below : strict bounds; the line shows the bounds, because a rounding error's
        own size differs between machines

    Raises KeyError for an unknown claim, TypeError without any comparison, and
    AssertionError with both values where a comparison fails (NaN fails them all).
    """
    if claim not in claims():
        raise KeyError(f"{claim!r} is not in claims.yml")
    if equals is None and above is None and below is None:
        raise TypeError("check needs equals=, above= or below= to compare with")
    failures = []
    # Truth values are not subtracted: numpy's cannot be.
    close = value == equals or (
        not isinstance(equals, bool | None) and abs(value - equals) <= tol
    )
    if equals is not None and not close:
        failures.append(f"equal to {equals!r} within {tol:g}")
    if above is not None and not value > above:
        failures.append(f"above {above!r}")
    if below is not None and not value < below:
        failures.append(f"below {below!r}")
    if failures:
        raise AssertionError(
            f"{claim} · {what}: got {value!r}, expected it {' and '.join(failures)}"
        )
    bounds = [f"{sign} {b:.3g}" for sign, b in ((">", above), ("<", below)) if b is not None]
    shown = _shown(value) if equals is not None else " and ".join(bounds)
    _show(Evidence(claim, f"{what}: {shown}"))


def evidence(folder="."):
    """The evidence in the stored outputs of the chapters ``NN-*.ipynb`` in ``folder``.

    Returns a list of `Evidence` in chapter and cell order, each with its chapter's name.
    """
    found = []
    for path in sorted(Path(folder).glob("[0-9][0-9]-*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", ()):
                line = _LINE.match("".join(output.get("data", {}).get("text/plain", "")))
                if line:
                    found.append(Evidence(*line.groups(), chapter=path.stem))
    return found


class table:
    """Claims and evidence side by side, as HTML for a page and as lines for a terminal.

    ``table(folder)`` reads the notebooks of ``folder``. Each piece of evidence links
    to the line in its chapter where it was computed. A link below the table, which holds
    the data itself, downloads what `csv` returns.
    """

    def __init__(self, folder="."):
        lines = evidence(folder)
        self.rows = [
            (claim, [line for line in lines if line.claim == claim.id])
            for claim in claims().values()
        ]

    def __str__(self):
        return "\n".join(
            f"{claim.id} {claim.verdict}: {len(lines)} line{'s' * (len(lines) != 1)} of evidence"
            for claim, lines in self.rows
        )

    __repr__ = __str__

    def csv(self):
        """The table as text, one row per line of evidence; a claim without any has one row.

        Comma-separated as in RFC 4180: quotes where needed, lines ending in CR LF.
        """
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(("claim", "verdict", "step", "truth", "chapter", "evidence"))
        for claim, lines in self.rows:
            for line in lines or [Evidence(claim.id, "")]:
                about = claim.id, claim.verdict, claim.step, claim.truth
                writer.writerow((*about, line.chapter, line.text))
        return text.getvalue()

    def _repr_html_(self):
        head = "<tr><th>claim</th><th>step, and what is true</th><th>evidence</th></tr>"
        rows = "".join(
            f'<tr id="{claim.id}">'
            f'<th scope="row">{claim.id}<br><span class="verdict">{claim.verdict}</span></th>'
            f'<td><p class="step">{escape(claim.step)}</p><p>{escape(claim.truth)}</p></td>'
            f"<td><ul>{''.join(map(_link, lines))}</ul></td></tr>"
            for claim, lines in self.rows
        )
        return (
            f'<table class="ledger"><thead>{head}</thead><tbody>{rows}</tbody></table>'
            f'<p><a class="ledger-download" download="ledger.csv" href="{_as_file(self.csv())}">'
            "Download the table as CSV</a></p>"
        )


def _as_file(text):
    # Excel takes a CSV file for UTF-8 only if a byte order mark says so; else it shows √ as âˆš.
    return "data:text/csv;charset=utf-8," + quote("\ufeff" + text)


def _link(line):
    # A notebook's name works in JupyterLab; the book's build turns it into the page's.
    return f'<li><a href="{line.chapter}.ipynb#{line.anchor}">{escape(line.text)}</a></li>'


def _shown(value):
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float) or hasattr(value, "dtype"):
        return f"{value + 0.0:.4g}" if math.isfinite(value) else str(value)
    return str(value)


def _show(line):
    from IPython.display import display  # a reader's script may do without IPython

    display(line)
