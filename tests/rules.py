"""The rules that the book's notebooks keep, read from their stored state.

Each rule is a function of a notebook that yields what is wrong with it.

    python tests/rules.py [book/06-scaling.ipynb ...]

With paths: every complaint about these notebooks. Without: how many complaints
there are, by notebook and rule.
"""

import ast
import json
import re
import sys
from collections import Counter
from html import unescape
from pathlib import Path

from stored import BOOK, calls, code_cells, output_texts, read, text, tree

# Of a cell, of a printed line, of a number.
LINES, COLUMNS, DIGITS = 16, 60, 6
WORDS = range(1500, 2201)  # prose and captions
WORDS_A_MINUTE = 200  # a figure takes a minute, too; code is left out
LISTING = 20  # lines of a function that is shown
# Folded behind a click or absent from the page.
HIDDEN = {"remove-cell", "remove-input", "hide-cell", "hide-input"}

PLACES = re.compile(
    r"/home/|/tmp/|/root\b|/Users/|\b[A-Z]:\\|site-packages|\b0x[0-9a-f]{6,}"
)
CLOCK = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d"
    r"|\b\d{1,2}:\d\d:\d\d\b"
    r"|\b[A-Z][a-z]{2} +\d+ +\d\d:\d\d"
)
NUMBER = re.compile(r"(?<![\w.])\d+\.\d+(?:[eE][+-]?\d+)?")
SENTENCE = re.compile(r"(\w+\W+){2}\w[^.:!?]*[.:!?](\W|$)")
LINK = re.compile(r"(\{doc\}`(?:([^`<]+) <)?([^`>]+)>?`)")
ROLE = re.compile(r"\{[\w:]+\}`([^`<]+?)(?: <[^`>]+>)?`")
EVIDENCE = re.compile(r"✓ A\d\d · ")
MODERN_RANDOM = {"default_rng", "Generator", "SeedSequence", "PCG64"}
TEXTS = (
    "stream",
    "text/plain",
    "text/html",
    "text/markdown",
    "text/latex",
    "image/svg+xml",
)


def numbered(nb):
    """Each code cell with the words that a complaint names it by."""
    for number, cell in enumerate(code_cells(nb), start=1):
        first = text(cell["source"]).strip().splitlines()[0]
        yield f"code cell {number} ({first[:40]})", cell


def is_visible(cell):
    return not HIDDEN & set(cell["metadata"].get("tags", []))


def without_links(markdown):
    words = ROLE.sub(r"\1", markdown)
    return re.sub(r"\[([^\]]*)\]\(\S+?\)", r"\1", words)


def prose(markdown):
    """Its words: a formula counts as one, of a link what it shows."""
    words = re.sub(r"\$\$.*?\$\$", " x. ", markdown, flags=re.S)
    words = re.sub(r"\$[^$]+\$", " x ", words)
    words = without_links(words)
    return re.sub(r"^(```|:::|:[\w-]+:).*$", "", words, flags=re.M)


def holds_a_sentence(markdown):
    without_headings = re.sub(r"^#.*$", "", prose(markdown), flags=re.M)
    return bool(SENTENCE.search(without_headings))


def printed(cell):
    """The lines that a reader sees as plain text, apart from evidence."""
    for output in cell["outputs"]:
        shown = output_texts({"outputs": [output]}, "stream")
        if set(output.get("data", {})) == {"text/plain"}:  # nothing richer
            shown = output_texts({"outputs": [output]}, "text/plain")
        for words in shown:
            for line in words.splitlines():
                if not EVIDENCE.match(line):
                    yield line


def said(nb):
    """What the book says: the text of markdown cells, and captions."""
    for cell in nb["cells"]:
        figure = cell["metadata"].get("mystnb", {}).get("figure", {})
        is_text = cell["cell_type"] == "markdown"
        yield text(cell["source"]) if is_text else figure.get("caption", "")


def number_of_words(markdown):
    return len(re.findall(r"\b[^\W\d_][\w'’-]*", prose(markdown)))


def minutes(nb):
    """How long a chapter is read."""
    words = number_of_words("\n".join(said(nb)))
    figures = sum(
        "figure" in cell["metadata"].get("mystnb", {})
        for cell in code_cells(nb)
    )
    return words / WORDS_A_MINUTE + figures


# How a cell reads


def code_follows_prose(nb):
    """A sentence stands before each visible cell; hidden cells do not count."""
    names = {id(cell): name for name, cell in numbered(nb)}
    said = False
    for cell in nb["cells"]:
        if cell["cell_type"] == "markdown":
            said = said or holds_a_sentence(text(cell["source"]))
        elif id(cell) in names and is_visible(cell):
            if not said:
                yield f"{names[id(cell)]}: no sentence before it"
            said = False


def code_cells_are_short(nb):
    """Or folded, as long listings are."""
    for name, cell in numbered(nb):
        lines = [s for s in text(cell["source"]).splitlines() if s.strip()]
        if is_visible(cell) and len(lines) > LINES:
            yield f"{name}: {len(lines)} lines"
        for listing in output_texts(cell, "text/markdown"):
            shown = len(listing.splitlines())
            tags = cell["metadata"].get("tags", [])
            if shown > LISTING and "hide-output" not in tags:
                yield f"{name}: {shown} lines are listed"


def claims_are_checks(nb):
    """A claim is a `check`, a guard is a test: a chapter asserts nothing."""
    for name, cell in numbered(nb):
        if any(
            isinstance(node, ast.Assert) for node in ast.walk(tree(cell))
        ):
            yield f"{name}: an assert"


def no_cell_is_for_the_ledger_alone(nb):
    for name, cell in numbered(nb):
        checks = {ast.unparse(call) for call in calls(cell, "check")}
        if {ast.unparse(line) for line in tree(cell).body} <= checks:
            yield f"{name}: nothing but check"


def the_formatter_has_its_way(nb):
    for name, cell in numbered(nb):
        for found in re.findall(r"# *fmt: *\w+", text(cell["source"])):
            yield f"{name}: {found}"


def printed_lines_fit(nb):
    for name, cell in numbered(nb):
        for line in printed(cell):
            if len(line) > COLUMNS:
                yield f"{name}: {len(line)} columns: {line}"


def numbers_are_short(nb):
    """More digits would differ between machines."""
    for name, cell in numbered(nb):
        for words in output_texts(cell, "stream", "text/plain"):
            if EVIDENCE.match(words):
                continue
            for found in NUMBER.findall(words):
                digits = (
                    re.split("[eE]", found)[0].replace(".", "").lstrip("0")
                )
                if len(digits) > DIGITS:
                    yield f"{name}: {found}"


def figures_are_described(nb):
    for name, cell in numbered(nb):
        kinds = [set(output.get("data", {})) for output in cell["outputs"]]
        images = [k for k in kinds if k & {"image/png", "image/svg+xml"}]
        explorables = [
            html
            for html in output_texts(cell, "text/html")
            if 'class="explorable"' in html
        ]
        images += explorables
        if not images:
            continue
        # The map of a head at a chapter's top has no caption to be read.
        is_map = "figures.head_map(" in text(cell["source"])
        settings = cell["metadata"].get("mystnb", {})
        words = dict(settings.get("figure", {}))
        words["alt"] = settings.get("image", {}).get("alt")
        for html in explorables:  # the still figure within
            alt = re.search(r'<img alt="([^"]*)"', html)
            words["alt"] = unescape(alt[1]) if alt else ""
        if len(images) != 1:
            yield f"{name}: {len(images)} images under one caption"
        for what in ("alt",) if is_map else ("caption", "name", "alt"):
            words[what] = (words.get(what) or "").strip()
            if not words[what]:
                yield f"{name}: no {what}"
        if words["alt"] and words["alt"] == words.get("caption"):
            yield f"{name}: the alt text repeats the caption"


def prose_has_its_length(nb):
    count = number_of_words("\n".join(said(nb)))
    if count not in WORDS:
        yield f"{count} words of prose, not {WORDS[0]} to {WORDS[-1]}"


def said_minutes(nb):
    opening = "\n".join(text(cell["source"]) for cell in nb["cells"][:4])
    return [
        int(n) for n in re.findall(r"^\*(\d+) minutes\.\*", opening, re.M)
    ]


def minutes_are_right(nb):
    """To a minute; an edit of some words may leave them as they are."""
    found = said_minutes(nb)
    if len(found) != 1 or abs(found[0] - minutes(nb)) > 1:
        yield f"says {found} minutes, not {minutes(nb):.1f}"


def chapters_are_cited_by_number(nb):
    """As a link that says "chapter 5", or "5" after such words."""
    for words in said(nb):
        for found in re.findall(
            r"\bchapters? \d+", LINK.sub("", words), re.I
        ):
            yield f"no link: {found}"
        for role, shown, name in LINK.findall(words):
            number = re.match(r"\d\d(?=-)", name)
            if not shown:
                yield f"a bare title: {role}"
            elif number and shown.lower() not in (
                f"chapter {int(number[0])}",
                f"{int(number[0])}",
                "the ledger",
            ):
                yield f"no number: {role}"


# What a cell may do, and what it may leave behind


def executed_in_order(nb):
    counts = [cell["execution_count"] for cell in code_cells(nb)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"execution counts are {counts}"


def no_errors_no_stderr(nb):
    for name, cell in numbered(nb):
        for output in cell["outputs"]:
            if (
                output["output_type"] == "error"
                or output.get("name") == "stderr"
            ):
                yield f"{name}: {output.get('ename', 'stderr')}"


def no_warnings(nb):
    for name, cell in numbered(nb):
        for words in output_texts(cell, *TEXTS):
            for found in re.findall(r"\w*Warning\b.*", words):
                yield f"{name}: {found}"


def no_trace_of_a_machine(nb):
    """No path or address anywhere, no time in outputs and metadata."""
    for cell in [{"metadata": nb["metadata"], "source": ""}, *nb["cells"]]:
        told = json.dumps(cell["metadata"], ensure_ascii=False)
        if "outputs" in cell:
            told += "".join(output_texts(cell, *TEXTS))
            told += json.dumps(
                [o.get("metadata", {}) for o in cell["outputs"]]
            )
        for found in PLACES.findall(told + text(cell["source"])):
            yield repr(found)
        for found in CLOCK.findall(told):
            yield f"a time: {found!r}"


def kernel_is_python3(nb):
    name = nb["metadata"].get("kernelspec", {}).get("name")
    if name != "python3":
        yield f"kernelspec is {name}"


def attnlib_is_installed(nb):
    sources = [ast.unparse(tree(cell)) for cell in code_cells(nb)]
    imports = re.compile(r"^\s*(import|from) attnlib\b", re.M)
    if not any(map(imports.search, sources)):
        yield "attnlib is not imported"
    if any("sys.path" in source for source in sources):
        yield "sys.path is touched"


def random_draws_are_seeded(nb):
    for name, cell in numbered(nb):
        for call in calls(cell, "default_rng"):
            given = call.args + [keyword.value for keyword in call.keywords]
            if not given or ast.unparse(given[0]) == "None":
                yield f"{name}: default_rng without a seed"
        for node in ast.walk(tree(cell)):
            if isinstance(node, ast.Attribute):
                module = ast.unparse(node.value)
                if module in ("np.random", "numpy.random") and (
                    node.attr not in MODERN_RANDOM
                ):
                    yield f"{name}: np.random.{node.attr} has no seed"
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            if {"random", "secrets"} & set(modules):
                yield f"{name}: imports {modules}"


# Which rule holds where, by the notebook's name

RULES = {
    code_follows_prose: r"",
    code_cells_are_short: r"",
    claims_are_checks: r"",
    no_cell_is_for_the_ledger_alone: r"",
    the_formatter_has_its_way: r"",
    printed_lines_fit: r"",
    numbers_are_short: r"",
    figures_are_described: r"",
    prose_has_its_length: r"0[1-9]-|1[0-2]-",
    minutes_are_right: r"\d\d-|real|wrong",
    chapters_are_cited_by_number: r"",
    executed_in_order: r"",
    no_errors_no_stderr: r"",
    no_warnings: r"",
    no_trace_of_a_machine: r"",
    kernel_is_python3: r"",
    attnlib_is_installed: r"\d\d-",
    random_draws_are_seeded: r"",
}


def complaints(path):
    """(rule, what is wrong) for every rule that holds for a notebook."""
    nb = read(path)
    for rule, where in RULES.items():
        if re.match(where, path.stem):
            yield from ((rule.__name__, said) for said in rule(nb))


def main(paths):
    totals = Counter()
    for path in paths or sorted(BOOK.glob("*.ipynb")):
        found = list(complaints(path))
        if paths:
            for rule, said in found:
                print(f"{path.stem}: {rule}: {said}")
        counts = Counter(rule for rule, _ in found)
        totals += counts
        print(f"{path.stem}: {dict(counts)}")
    print(f"in all: {dict(totals)}")
    return bool(totals)


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]))
