"""The ledger: the article's claims, and the evidence that chapters record.

``book/claims.yml`` lists the claims. In a chapter, `attnlib.book.check`
holds a claim to a number and shows one line. `evidence` reads those lines
back from the executed notebooks, and `Table` puts claims and evidence side
by side (chapter 13).
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from attnlib.book.data import book_file
from attnlib.book.render import as_csv, as_html, tally_as_html

VERDICTS = ("right", "imprecise", "needs assumptions", "wrong")


@dataclass(frozen=True)
class Claim:
    """One claim of the article.

    Attributes
    ----------
    id : str
        Its place in the article's order: A01, A02, …
    step : str
        The article's step, in our words.
    verdict : str
        One of ``VERDICTS``.
    truth : str
        What is true.
    chapters : sequence of str
        The notebooks that hold its evidence.
    """

    id: str
    step: str
    verdict: str
    truth: str
    chapters: tuple[str, ...] | list[str] = ()


@dataclass(frozen=True)
class Evidence:
    """One line of evidence, as a chapter's output shows it.

    Attributes
    ----------
    claim : str
        The claim's id.
    text : str
        What was measured and what came out: ``"what: value"``.
    chapter : str
        The notebook that shows it; empty where it is being made.
    """

    claim: str
    text: str
    chapter: str = ""

    @property
    def anchor(self) -> str:
        """Id of the line in the built page: claim and what was measured."""
        what = self.text.split(": ")[0].lower()
        words = re.sub(r"[^a-z0-9]+", "-", what).strip("-")
        return f"evidence-{self.claim.lower()}-{words}"

    def __repr__(self):
        return f"✓ {self.claim} · {self.text}"

    def _repr_html_(self):
        line = escape(repr(self))
        return f'<p class="evidence" id="{self.anchor}">{line}</p>'


def claims() -> dict[str, Claim]:
    """Read the claims of ``book/claims.yml``.

    Returns
    -------
    dict
        Each `Claim` by its id, in the article's order.

    Raises
    ------
    ValueError
        For a duplicate id or an unknown verdict.
    """
    found = {}
    text = book_file("claims.yml").read_text(encoding="utf-8")
    for claim in (Claim(**entry) for entry in yaml.safe_load(text)):
        if claim.id in found:
            raise ValueError(f"claims.yml lists {claim.id} twice")
        if claim.verdict not in VERDICTS:
            raise ValueError(
                f"{claim.id}: verdict {claim.verdict!r} "
                f"is none of {VERDICTS}"
            )
        found[claim.id] = claim
    return found


def check(
    claim: str,
    what: str,
    value: Any,
    *,
    equals: Any = None,
    above: float | None = None,
    below: float | None = None,
    tol: float = 0.0,
) -> None:
    """Hold a claim to a number, and show one line of evidence.

    Parameters
    ----------
    claim : str
        An id of the ledger, such as "A11".
    what : str
        What was measured, in a few words without ``": "``.
    value : number, truth value or sympy number
        What came out.
    equals : number, truth value or sympy number, optional
        What ``value`` must equal. The line shows the value.
    above, below : float, optional
        Strict bounds of ``value``. The line shows them in place of the
        value: a rounding error's own size differs between machines.
    tol : float
        Largest absolute difference from ``equals``.

    Raises
    ------
    KeyError
        For an unknown claim.
    TypeError
        Without any comparison.
    AssertionError
        With both numbers, where a comparison fails. NaN fails them all.
    """
    if claim not in claims():
        raise KeyError(f"{claim!r} is not in claims.yml")
    if equals is None and above is None and below is None:
        raise TypeError("check needs equals=, above= or below=")
    bounds, failed = [], []
    if equals is not None and not _close(value, equals, tol):
        failed.append(f"equal to {equals!r} within {tol:g}")
    if above is not None:
        bounds.append(f"> {above:.3g}")
        if not value > above:
            failed.append(f"above {above!r}")
    if below is not None:
        bounds.append(f"< {below:.3g}")
        if not value < below:
            failed.append(f"below {below!r}")
    if failed:
        expected = " and ".join(failed)
        raise AssertionError(
            f"{claim} · {what}: got {value!r}, expected it {expected}"
        )
    shown = " and ".join(bounds) if equals is None else _shown(value)
    _display(Evidence(claim, f"{what}: {shown}"))


def _close(value, equals, tol):
    if isinstance(equals, bool | np.bool_):  # numpy's cannot be subtracted
        return value == equals
    # A comparison that stays symbolic is no truth value: not close.
    return value == equals or (abs(value - equals) <= tol) in (True,)


def _shown(value):
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float) or hasattr(value, "dtype"):
        return f"{value + 0.0:.4g}"  # the sum turns -0 into 0
    return str(value)


def _display(line):
    from IPython.display import display  # the numbers do without it

    display(line)


def evidence(folder: str | Path = ".") -> list[Evidence]:
    """Read the evidence back from the stored outputs of the chapters.

    Parameters
    ----------
    folder : str or Path
        Holds the chapters, ``NN-*.ipynb``.

    Returns
    -------
    list of Evidence
        In chapter and cell order.
    """
    found = []
    for path in sorted(Path(folder).glob("[0-9][0-9]-*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            for output in cell.get("outputs", ()):
                text = "".join(output.get("data", {}).get("text/plain", ""))
                line = re.fullmatch(r"✓ (A\d\d) · (.+)", text)
                if line:
                    found.append(
                        Evidence(*line.groups(), chapter=path.stem)
                    )
    return found


class Tally:
    """The claims counted by verdict, and all lines of evidence.

    A notebook shows the verdicts as the table does.

    Parameters
    ----------
    folder : str or Path
        Holds the chapters whose stored outputs are read.

    Attributes
    ----------
    counts : dict
        The number of claims by verdict, in the order of ``VERDICTS``.
    lines : int
        How many lines of evidence there are.
    """

    def __init__(self, folder: str | Path = "."):
        found = Counter(claim.verdict for claim in claims().values())
        self.counts = {verdict: found[verdict] for verdict in VERDICTS}
        self.lines = len(evidence(folder))

    def __repr__(self):
        counts = ", ".join(f"{n} {v}" for v, n in self.counts.items())
        return (
            f"{sum(self.counts.values())} claims, "
            f"{self.lines} lines of evidence: {counts}"
        )

    def _repr_html_(self):
        return tally_as_html(self.counts, self.lines)


class Table:
    """Claims and evidence side by side.

    A notebook shows it as an HTML table, in which each line of evidence
    links to the place in its chapter where it was computed; a link below
    the table downloads what `csv` returns. A terminal shows how many lines
    each claim has.

    Parameters
    ----------
    folder : str or Path
        Holds the chapters whose stored outputs are read.

    Attributes
    ----------
    rows : list of (Claim, list of Evidence)
        Every claim with its evidence, in the article's order.
    """

    def __init__(self, folder: str | Path = "."):
        found = evidence(folder)
        self.rows = [
            (claim, [line for line in found if line.claim == claim.id])
            for claim in claims().values()
        ]

    def __repr__(self):
        return "\n".join(
            f"{claim.id} {claim.verdict}: {len(lines)} "
            f"{'line' if len(lines) == 1 else 'lines'} of evidence"
            for claim, lines in self.rows
        )

    def _repr_html_(self):
        return as_html(self.rows)

    def csv(self) -> str:
        """Write the table for a spreadsheet.

        Returns
        -------
        str
            One row for each line of evidence; a claim without any has one
            row.
        """
        return as_csv(self.rows)
