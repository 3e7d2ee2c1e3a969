"""The ledger: `check`, and the claims against the evidence that is stored.

Each guard is a function of a folder of notebooks and the claims, and is itself
tried on a small book that was broken on purpose.
"""

import copy
import csv
import io
import json
import re
from collections import Counter
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
import sympy
import yaml
from bs4 import BeautifulSoup
from stored import (
    BOOK,
    calls,
    code,
    code_cells,
    markdown,
    notebook,
    output_texts,
    read,
    shown,
    stream,
)

from attnlib.book import check, ledger

IDS = [f"A{n:02}" for n in range(1, 22)]


# --- the guards ----------------------------------------------------------------------


def chapters(folder):
    return {
        path.stem: read(path)
        for path in sorted(folder.glob("[0-9][0-9]-*.ipynb"))
    }


def lines(cell):
    """(claim, words) of every evidence line in a cell's stored outputs."""
    found = (
        re.match(r"✓ (A\d\d) · (.+)", t)
        for t in output_texts(cell, "text/plain")
    )
    return [match.groups() for match in found if match]


def evidence_by_chapter(folder):
    """{chapter: the claims that it holds evidence for}"""
    return {
        name: {claim for cell in code_cells(nb) for claim, _ in lines(cell)}
        for name, nb in chapters(folder).items()
    }


def wrong_ids(folder, claims):
    count = Counter(claim["id"] for claim in claims)
    yield from (
        f"{i} is listed {count[i]} times"
        for i in sorted({*count, *IDS})
        if count[i] != 1
    )
    yield from (
        f"{i} is no id of the article"
        for i in sorted(set(count) - set(IDS))
    )


def missing_chapters(folder, claims):
    for claim in claims:
        for chapter in claim.get("chapters", []):
            if not (folder / f"{chapter}.ipynb").exists():
                yield f"{claim['id']}: there is no chapter {chapter}"


def claims_without_evidence(folder, claims):
    found = evidence_by_chapter(folder)
    for claim in claims:
        listed = claim.get("chapters", [])
        if not listed:
            yield f"{claim['id']} has no chapter"
        for chapter in listed:
            if claim["id"] not in found.get(chapter, ()):
                yield f"{claim['id']} has no evidence in {chapter}"


def evidence_without_claim(folder, claims):
    listed = {claim["id"]: claim.get("chapters", []) for claim in claims}
    for chapter, found in evidence_by_chapter(folder).items():
        for claim in sorted(found):
            if claim not in listed:
                yield f"{chapter} holds evidence for {claim}, which nobody claims"
            elif chapter not in listed[claim]:
                yield f"{chapter} holds evidence for {claim}, which does not list it"


def checks_that_did_not_run(folder, claims):
    """A call without its line, or a line without its call: old outputs."""
    for chapter, nb in chapters(folder).items():
        for number, cell in enumerate(code_cells(nb), start=1):
            called = Counter(
                call.args[0].value for call in calls(cell, "check")
            )
            stored = Counter(claim for claim, _ in lines(cell))
            for claim in sorted({*called, *stored}):
                if stored[claim] < called[claim] or not called[claim]:
                    yield (
                        f"{chapter}, code cell {number}: {called[claim]} checks of {claim}, "
                        f"{stored[claim]} lines of evidence"
                    )


def anchors_used_twice(folder, claims):
    for chapter in chapters(folder):
        anchors = Counter(
            e.anchor
            for e in ledger.evidence(folder)
            if e.chapter == chapter
        )
        yield from (
            f"{chapter}: {a} stands {n} times"
            for a, n in anchors.items()
            if n > 1
        )


GUARDS = [
    wrong_ids,
    missing_chapters,
    claims_without_evidence,
    evidence_without_claim,
    checks_that_did_not_run,
    anchors_used_twice,
]


@pytest.mark.parametrize("guard", GUARDS, ids=lambda g: g.__name__)
def test_the_book(guard):
    claims = yaml.safe_load(
        (BOOK / "claims.yml").read_text(encoding="utf-8")
    )
    assert list(guard(BOOK, claims)) == []


def test_the_ledger_chapter_shows_the_evidence_of_today():
    stored = [
        t
        for c in code_cells(read(BOOK / "13-ledger.ipynb"))
        for t in output_texts(c, "text/html")
    ]
    for shown_there in (ledger.Tally(BOOK), ledger.Table(BOOK)):
        assert shown_there._repr_html_() in stored, (
            "execute 13-ledger again"
        )


# --- the guards on a book broken on purpose -------------------------------------------


def evidence_cell(claim, what="gap"):
    line = ledger.Evidence(claim, f"{what}: > 1")
    return code(
        f'check("{claim}", "{what}", 2, above=1)', shown(plain=str(line))
    )


def small_book():
    """Claims and notebooks that every guard lets through; A02 is in two chapters."""
    claims = [{"id": i, "chapters": ["01-one"]} for i in IDS]
    claims[1]["chapters"] = ["01-one", "02-two"]
    one = notebook(*(evidence_cell(i) for i in IDS))
    return claims, {"01-one": one, "02-two": notebook(evidence_cell("A02"))}


def findings(guard, folder, claims, notebooks):
    for name, nb in notebooks.items():
        (folder / f"{name}.ipynb").write_text(
            json.dumps(nb), encoding="utf-8"
        )
    return list(guard(folder, claims))


def duplicate_id(claims, notebooks):
    claims.append(copy.deepcopy(claims[4]))


def forgotten_id(claims, notebooks):
    del claims[4]


def invented_id(claims, notebooks):
    claims.append({"id": "A22", "chapters": ["01-one"]})


def missing_chapter(claims, notebooks):
    del notebooks["02-two"]


def claim_without_evidence(claims, notebooks):
    del notebooks["01-one"]["cells"][4]


def no_evidence_in_the_second_chapter(claims, notebooks):
    notebooks["02-two"]["cells"].clear()


def claim_without_chapter(claims, notebooks):
    del claims[6]["chapters"]


def evidence_for_no_claim(claims, notebooks):
    notebooks["02-two"]["cells"].append(evidence_cell("A22"))


def evidence_in_an_unlisted_chapter(claims, notebooks):
    notebooks["02-two"]["cells"].append(evidence_cell("A03"))


def check_that_did_not_run(claims, notebooks):
    notebooks["01-one"]["cells"][3]["outputs"].clear()


def second_check_that_did_not_run(claims, notebooks):
    notebooks["01-one"]["cells"][3]["source"] += (
        '\ncheck("A04", "another", 2, above=1)'
    )


def line_left_of_a_removed_check(claims, notebooks):
    notebooks["01-one"]["cells"][3]["source"] = "pass"


def evidence_twice_under_one_anchor(claims, notebooks):
    notebooks["01-one"]["cells"].append(evidence_cell("A05"))


BROKEN = [
    (wrong_ids, duplicate_id, "A05 is listed 2 times"),
    (wrong_ids, forgotten_id, "A05 is listed 0 times"),
    (wrong_ids, invented_id, "A22 is no id"),
    (missing_chapters, missing_chapter, "A02: there is no chapter 02-two"),
    (
        claims_without_evidence,
        claim_without_evidence,
        "A05 has no evidence in 01-one",
    ),
    (
        claims_without_evidence,
        no_evidence_in_the_second_chapter,
        "A02 has no evidence in 02-two",
    ),
    (claims_without_evidence, claim_without_chapter, "A07 has no chapter"),
    (
        evidence_without_claim,
        evidence_for_no_claim,
        "A22, which nobody claims",
    ),
    (
        evidence_without_claim,
        evidence_in_an_unlisted_chapter,
        "A03, which does not list it",
    ),
    (
        checks_that_did_not_run,
        check_that_did_not_run,
        "1 checks of A04, 0 lines",
    ),
    (
        checks_that_did_not_run,
        second_check_that_did_not_run,
        "2 checks of A04, 1 lines",
    ),
    (
        checks_that_did_not_run,
        line_left_of_a_removed_check,
        "0 checks of A04, 1 lines",
    ),
    (
        anchors_used_twice,
        evidence_twice_under_one_anchor,
        "evidence-a05-gap stands 2 times",
    ),
]


@pytest.mark.parametrize("guard", GUARDS, ids=lambda g: g.__name__)
def test_a_sound_small_book_passes(guard, tmp_path):
    assert findings(guard, tmp_path, *small_book()) == []


@pytest.mark.parametrize(
    "guard, damage, message",
    BROKEN,
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_broken_book_is_found_out(guard, damage, message, tmp_path):
    claims, notebooks = small_book()
    damage(claims, notebooks)
    found = findings(guard, tmp_path, claims, notebooks)
    assert any(message in f for f in found), found


# --- check ----------------------------------------------------------------------------


@pytest.fixture
def one_claim(monkeypatch, tmp_path):
    """A claims.yml with A01 alone; returns a function that writes other entries."""

    def write(*entries):
        (tmp_path / "claims.yml").write_text(
            yaml.safe_dump(list(entries)), encoding="utf-8"
        )

    write(
        {
            "id": "A01",
            "step": "s",
            "verdict": "right",
            "truth": "t",
            "chapters": ["01-one"],
        }
    )
    monkeypatch.setattr(ledger, "book_file", lambda name: tmp_path / name)
    return write


@pytest.mark.parametrize(
    "value, bounds, line",
    [
        (9.4405, {"equals": 9.44, "tol": 1e-3}, "gap: 9.441"),
        (np.float32(0.5), {"equals": 0.5}, "gap: 0.5"),
        (3, {"equals": 3}, "gap: 3"),
        (np.int64(3), {"equals": 3}, "gap: 3"),
        (-0.0, {"equals": 0}, "gap: 0"),
        (True, {"equals": True}, "gap: yes"),
        (np.bool_(False), {"equals": False}, "gap: no"),
        (
            sympy.Rational(1, 2),
            {"equals": sympy.Rational(1, 2)},
            "gap: 1/2",
        ),
        (sympy.Integer(0), {"equals": 0}, "gap: 0"),
        (3e-17, {"below": 1e-12}, "gap: < 1e-12"),
        (0.5, {"above": 0}, "gap: > 0"),
        (-0.5, {"below": 0}, "gap: < 0"),
        (
            1.0,
            {"above": 0.12345, "below": 2.345678},
            "gap: > 0.123 and < 2.35",
        ),
        (0.75, {"equals": 0.5, "tol": 0.25, "above": 0.6}, "gap: 0.75"),
        (0.25, {"equals": 0.5, "tol": 0.25, "below": 0.3}, "gap: 0.25"),
        (123456, {"equals": 123456}, "gap: 123456"),
        (np.int64(123456), {"equals": 123456}, "gap: 1.235e+05"),
        (np.inf, {"equals": np.inf}, "gap: inf"),
        (True, {"equals": np.bool_(True)}, "gap: yes"),
        (0.6, {"above": 0.5, "below": 0.7}, "gap: > 0.5 and < 0.7"),
    ],
)
def test_check_shows_one_stable_line(
    one_claim, capsys, value, bounds, line
):
    check("A01", "gap", value, **bounds)
    assert capsys.readouterr().out == f"✓ A01 · {line}\n"


@pytest.mark.parametrize(
    "value, bounds, other",
    [
        (1.5, {"equals": 2.5}, "2.5"),
        (1.5, {"equals": 1.7, "tol": 0.1}, "1.7"),
        (1.5, {"above": 1.5}, "1.5"),
        (1.5, {"below": 1.5}, "1.5"),
        (1.5, {"above": 0.5, "below": 1.25}, "1.25"),
        (False, {"equals": True}, "True"),
        (np.bool_(False), {"equals": True}, "True"),
        (False, {"equals": np.bool_(True)}, "True"),
        (1.0, {"equals": 1.0 + 1e-12}, "1.000000000001"),
        (sympy.Rational(1, 2), {"equals": sympy.Rational(1, 3)}, "1/3"),
        (sympy.Symbol("x"), {"equals": 0}, "0"),
        (float("nan"), {"equals": 1.0}, "1.0"),
        (float("nan"), {"above": 0.0}, "0.0"),
        (float("nan"), {"below": 1.0}, "1.0"),
        (float("nan"), {"equals": float("nan"), "tol": 1.0}, "nan"),
    ],
)
def test_a_failing_check_raises_with_both_values_and_shows_nothing(
    one_claim, capsys, value, bounds, other
):
    with pytest.raises(AssertionError) as error:
        check("A01", "gap", value, **bounds)
    message = str(error.value)
    assert message.startswith(f"A01 · gap: got {value!r}, expected it ")
    assert other in message
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "bounds, expected",
    [
        ({"equals": 2.5}, "equal to 2.5 within 0"),
        ({"equals": 2.5, "tol": 0.25}, "equal to 2.5 within 0.25"),
        ({"above": 2, "below": 1}, "above 2 and below 1"),
        ({"equals": 1.5, "above": 1.5}, "above 1.5"),
        ({"equals": 1.5, "below": 1.5}, "below 1.5"),
    ],
)
def test_a_failure_names_all_that_was_expected(one_claim, bounds, expected):
    with pytest.raises(AssertionError) as error:
        check("A01", "gap", 1.5, **bounds)
    assert str(error.value) == f"A01 · gap: got 1.5, expected it {expected}"


def test_check_refuses_unknown_claims_and_empty_comparisons(one_claim):
    with pytest.raises(KeyError) as error:
        check("A99", "gap", 1, equals=1)
    assert error.value.args == ("'A99' is not in claims.yml",)
    with pytest.raises(TypeError) as error:
        check("A01", "gap", 1)
    assert str(error.value) == "check needs equals=, above= or below="


def test_claims_are_those_of_the_file_in_its_order(one_claim):
    entry = {"step": "s", "verdict": "wrong", "truth": "√"}
    one_claim(
        {"id": "A02", "chapters": ["01-one"], **entry},
        {"id": "A01", **entry},
    )
    second, first = ledger.claims().items()
    assert second == (
        "A02",
        ledger.Claim("A02", "s", "wrong", "√", ["01-one"]),
    )
    assert first == ("A01", ledger.Claim("A01", "s", "wrong", "√"))


def test_claims_refuse_duplicates_and_unknown_verdicts(one_claim):
    entry = {"id": "A01", "step": "s", "verdict": "right", "truth": "t"}
    one_claim(entry, entry)
    with pytest.raises(ValueError, match="^claims.yml lists A01 twice$"):
        ledger.claims()
    one_claim({**entry, "verdict": "maybe"})
    verdicts = "'right', 'imprecise', 'needs assumptions', 'wrong'"
    with pytest.raises(ValueError) as error:
        ledger.claims()
    assert str(error.value) == (
        f"A01: verdict 'maybe' is none of ({verdicts})"
    )


# --- evidence and table -------------------------------------------------------


@pytest.mark.parametrize(
    "text, anchor",
    [
        ("gap: 3", "evidence-a01-gap"),
        ("|Σa − 1| of ROW 2: < 1: 2", "evidence-a01-a-1-of-row-2"),
        ("without a value", "evidence-a01-without-a-value"),
    ],
)
def test_an_anchor_is_made_of_what_was_measured(text, anchor):
    assert ledger.Evidence("A01", text).anchor == anchor


def test_a_line_of_evidence_is_shown_with_its_anchor():
    line = ledger.Evidence("A01", "a < b: yes")
    assert repr(line) == "✓ A01 · a < b: yes"
    assert line._repr_html_() == (
        '<p class="evidence" id="evidence-a01-a-b">✓ A01 · a &lt; b: yes</p>'
    )


def test_evidence_is_read_in_order_and_nothing_else_is(
    tmp_path, monkeypatch
):
    first = evidence_cell("A02", "first")
    first["outputs"][0]["data"]["text/plain"] = ["✓ A02 · ", "first: > 1"]
    other = code("x", shown(html="<p>"), stream("✓ A03 · printed: 1"))
    cited = code("x", shown(plain="so ✓ A03 · cited: 1"))
    two_lines = code("x", shown(plain="✓ A03 · one: 1\n✓ A03 · two: 1"))
    books = {
        "02-two": notebook(evidence_cell("A01", "third")),
        "01-one": notebook(
            markdown("text"),
            other,
            first,
            cited,
            two_lines,
            evidence_cell("A02", "second"),
        ),
        "index": notebook(evidence_cell("A03")),
    }
    findings(lambda *_: [], tmp_path, None, books)
    found = [
        ledger.Evidence("A02", "first: > 1", "01-one"),
        ledger.Evidence("A02", "second: > 1", "01-one"),
        ledger.Evidence("A01", "third: > 1", "02-two"),
    ]
    assert ledger.evidence(tmp_path) == found
    monkeypatch.chdir(tmp_path)
    assert ledger.evidence() == found
    rows = {claim.id: lines for claim, lines in ledger.Table().rows}
    assert list(rows) == IDS
    assert rows["A02"] == found[:2] and rows["A03"] == []


ENTRY = {"verdict": "right", "truth": "t > 0", "chapters": ["01-one"]}


def test_tally_counts_in_the_order_of_the_definitions(one_claim, tmp_path):
    verdicts = "wrong", "needs assumptions", "wrong"
    entries = [
        {**ENTRY, "id": f"A0{i}", "step": "s", "verdict": verdict}
        for i, verdict in enumerate(verdicts, start=1)
    ]
    one_claim(*entries)
    cells = [evidence_cell("A01", what) for what in ("gap", "lead")]
    findings(lambda *_: [], tmp_path, None, {"01-one": notebook(*cells)})
    tally = ledger.Tally(tmp_path)
    assert repr(tally) == (
        "3 claims, 2 lines of evidence: "
        "0 right, 0 imprecise, 1 needs assumptions, 2 wrong"
    )
    assert tally._repr_html_() == (
        '<div class="tally"><p>3 claims, 2 lines of evidence</p><ul>'
        '<li>0 <span class="verdict right">right</span></li>'
        '<li>0 <span class="verdict imprecise">imprecise</span></li>'
        '<li>1 <span class="verdict needs-assumptions">needs assumptions'
        "</span></li>"
        '<li>2 <span class="verdict wrong">wrong</span></li></ul></div>'
    )


def test_table_is_shown_as_html(one_claim, tmp_path):
    one_claim({"id": "A01", "step": "a < b", **ENTRY})
    cells = [evidence_cell("A01", what) for what in ("gap", "lead")]
    findings(lambda *_: [], tmp_path, None, {"01-one": notebook(*cells)})
    table, _, link = ledger.Table(tmp_path)._repr_html_().partition("<p><a")
    assert table == (
        '<table class="ledger"><thead><tr><th>claim</th>'
        "<th>step, and what is true</th><th>evidence</th></tr></thead><tbody>"
        '<tr id="A01"><th scope="row">A01<br>'
        '<span class="verdict right">right</span></th>'
        '<td><p class="step">a &lt; b</p><p>t &gt; 0</p></td><td><ul>'
        '<li><a href="01-one.ipynb#evidence-a01-gap">gap: &gt;\N{NO-BREAK SPACE}1</a> '
        '<span class="chapter">chapter 1</span></li>'
        '<li><a href="01-one.ipynb#evidence-a01-lead">lead: &gt;\N{NO-BREAK SPACE}1</a> '
        '<span class="chapter">chapter 1</span></li>'
        "</ul></td></tr></tbody></table>"
    )
    assert link.startswith(
        ' class="ledger-download" download="ledger.csv" href="'
    )
    assert link.endswith('">Download the table as CSV</a></p>')


def test_table_links_to_the_evidence_and_escapes_its_words(
    one_claim, tmp_path
):
    entry = {"verdict": "right", "truth": "t", "chapters": ["01-one"]}
    one_claim(
        {"id": "A01", "step": "a < b", **entry},
        {"id": "A02", "step": "s", **entry},
    )
    findings(
        lambda *_: [],
        tmp_path,
        None,
        {"01-one": notebook(evidence_cell("A01", "|Σa − 1|"))},
    )
    (line,) = ledger.evidence(tmp_path)
    assert (line.claim, line.text, line.chapter) == (
        "A01",
        "|Σa − 1|: > 1",
        "01-one",
    )
    table = ledger.Table(tmp_path)
    assert str(table).splitlines() == [
        "A01 right: 1 line of evidence",
        "A02 right: 0 lines of evidence",
    ]
    html = table._repr_html_()
    assert f'href="01-one.ipynb#{line.anchor}"' in html
    assert "a &lt; b" in html and "&gt;\N{NO-BREAK SPACE}1</a>" in html
    # The link's target is the id that the line carries in its own chapter.
    own = line._repr_html_()
    assert f'id="{line.anchor}"' in own and "&gt; 1" in own


COLUMNS = ["claim", "verdict", "step", "truth", "chapter", "evidence"]


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def link_of(table):
    """The link below the table, as a browser reads it."""
    (link,) = BeautifulSoup(table._repr_html_(), "html.parser").select(
        "a[download]"
    )
    return link


def test_csv_gives_back_every_word(one_claim, tmp_path):
    step, truth = 'an "x", and a <b> & y', "two\nlines, # % √dₖ"
    entry = {
        "verdict": "right",
        "step": step,
        "truth": truth,
        "chapters": ["01-one"],
    }
    one_claim({"id": "A01", **entry}, {"id": "A02", **entry})
    cells = [
        evidence_cell("A01", what)
        for what in ('a "quoted" gap, in %', "Σa², √dₖ; #1")
    ]
    findings(lambda *_: [], tmp_path, None, {"01-one": notebook(*cells)})
    table = ledger.Table(tmp_path)
    same = {"step": step, "truth": truth}
    right = {
        "claim": "A01",
        "verdict": "right",
        **same,
        "chapter": "01-one",
    }
    without = {"claim": "A02", "verdict": "right", **same, "chapter": ""}
    assert rows_of(table.csv()) == [
        {**right, "evidence": 'a "quoted" gap, in %: > 1'},
        {**right, "evidence": "Σa², √dₖ; #1: > 1"},
        {**without, "evidence": ""},
    ]
    assert table.csv().splitlines()[0].split(",") == COLUMNS

    # The link carries the same text, with the byte order mark that Excel needs.
    kind, _, content = link_of(table)["href"].partition(",")
    assert kind == "data:text/csv;charset=utf-8"
    assert unquote_to_bytes(content) == table.csv().encode("utf-8-sig")
    assert not set(content) & set(
        ' "#<>&\r\n'
    )  # what HTML or a URL would take for its own


def test_csv_of_the_book_holds_all_claims_and_evidence():
    rows = rows_of(ledger.Table(BOOK).csv())
    assert list(dict.fromkeys(row["claim"] for row in rows)) == IDS
    found = [
        (row["claim"], row["chapter"], row["evidence"])
        for row in rows
        if row["evidence"]
    ]
    stored = [(e.claim, e.chapter, e.text) for e in ledger.evidence(BOOK)]
    assert found == sorted(stored, key=lambda line: line[0])
    # A spreadsheet takes such a cell for a formula.
    assert [
        v
        for row in rows
        for v in row.values()
        if v.startswith(("=", "+", "-", "@"))
    ] == []
