"""The ledger's rows, each a claim and its evidence, as HTML and as CSV."""

import csv
import io
import re
from html import escape
from urllib.parse import quote

COLUMNS = ("claim", "verdict", "step", "truth", "chapter", "evidence")


def as_csv(rows: list) -> str:
    """Write the ledger as CSV, one row for each line of evidence.

    Parameters
    ----------
    rows : list of (Claim, list of Evidence)
        Claims and their evidence; a claim without any keeps one row.

    Returns
    -------
    str
        Comma-separated as in RFC 4180: quotes where needed, lines ending in
        CR LF.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for claim, lines in rows:
        about = claim.id, claim.verdict, claim.step, claim.truth
        for line in lines:
            writer.writerow((*about, line.chapter, line.text))
        if not lines:
            writer.writerow((*about, "", ""))
    return text.getvalue()


def as_html(rows: list) -> str:
    """Draw the ledger as an HTML table, and a link that downloads it.

    Parameters
    ----------
    rows : list of (Claim, list of Evidence)
        Claims and their evidence.

    Returns
    -------
    str
        The table and the link. The link holds the CSV file itself.
    """
    head = (
        "<tr><th>claim</th><th>step, and what is true</th>"
        "<th>evidence</th></tr>"
    )
    body = "".join(_row(claim, lines) for claim, lines in rows)
    return (
        f'<table class="ledger"><thead>{head}</thead>'
        f"<tbody>{body}</tbody></table>"
        '<p><a class="ledger-download" download="ledger.csv" '
        f'href="{_file_url(as_csv(rows))}">'
        "Download the table as CSV</a></p>"
    )


def tally_as_html(counts: dict[str, int], lines: int) -> str:
    """Draw how many claims got which verdict.

    Parameters
    ----------
    counts : dict
        The number of claims by verdict, in the order to be shown.
    lines : int
        How many lines of evidence there are.

    Returns
    -------
    str
        A paragraph and a list.
    """
    items = "".join(
        f"<li>{count} {_badge(verdict)}</li>"
        for verdict, count in counts.items()
    )
    return (
        f'<div class="tally"><p>{sum(counts.values())} claims, '
        f"{lines} lines of evidence</p><ul>{items}</ul></div>"
    )


def _badge(verdict):
    kind = verdict.replace(" ", "-")
    return f'<span class="verdict {kind}">{verdict}</span>'


def _row(claim, lines):
    return (
        f'<tr id="{claim.id}"><th scope="row">{claim.id}<br>'
        f"{_badge(claim.verdict)}</th>"
        f'<td><p class="step">{escape(claim.step)}</p>'
        f"<p>{escape(claim.truth)}</p></td>"
        f"<td><ul>{''.join(map(_link, lines))}</ul></td></tr>"
    )


def _link(line):
    # A notebook's name works in JupyterLab; the build makes it the page's.
    address = f"{line.chapter}.ipynb#{line.anchor}"
    chapter = line.chapter.partition("-")[0].lstrip("0")
    # A bound and its number stay on one line.
    words = re.sub("(?<=[<>]) (?=[0-9-])", "\N{NO-BREAK SPACE}", line.text)
    return (
        f'<li><a href="{address}">{escape(words)}</a> '
        f'<span class="chapter">chapter {chapter}</span></li>'
    )


def _file_url(text):
    # Without a byte order mark Excel takes UTF-8 for another encoding.
    return "data:text/csv;charset=utf-8," + quote("\ufeff" + text)
