"""Pages that run their own cells in the reader's browser, as readers press, change and stop them."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pyodide
import pytest
from browser import HTML, serve
from packaging.requirements import Requirement
from sphinx.errors import ExtensionError
from stored import code as code_cell
from stored import code_cells, notebook, read
from test_light_pages import AXE, EVERYWHERE, KIB
from test_pages import PAGES, SIZES
from working_tree import ROOT

sys.path.insert(0, str(ROOT / "extensions"))
import live_pages
import pyodide_files

HOST = f"https://{pyodide_files.HOST}/"
LEFT_OUT = {f"{name}.html" for name in live_pages.LEFT_OUT}
CHAPTERS = [
    name
    for name in PAGES
    if 'class="live"' in (HTML / name).read_text("utf-8")
]
CHECKED = ("book/03", "book/04", "book/11")  # the others once a week

pytestmark = [pytest.mark.needs_browser, pytest.mark.needs_pyodide]


@pytest.fixture(scope="module")
def distribution(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pyodide")
    pyodide.distribution(folder)
    return folder


# --- what a reader does -----------------------------------------------------------------------


@pytest.fixture
def opened(browser, distribution):
    """Opens an address; the public distribution answers from a folder."""
    pages = []

    def answer(route):
        name = urlsplit(route.request.url).path.rpartition("/")[2]
        headers = {"Access-Control-Allow-Origin": "*"}
        route.fulfill(path=distribution / name, headers=headers)

    def opened(address, **context):
        page = browser.new_page(**context)
        page.problems, page.asked = [], []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on(
            "console",
            lambda m: (
                m.type in ("error", "warning")
                and page.problems.append(m.text)
            ),
        )
        page.on("request", lambda request: page.asked.append(request.url))
        page.route(f"{HOST}**", answer)
        page.goto(address, wait_until="load")
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()


def press(page, name):
    page.locator(".live").get_by_role(
        "button", name=name, exact=True
    ).click()


def status(page):
    """What the page says when it has come to rest."""
    page.locator(".live button", has_text="Run all").wait_for(
        timeout=300_000
    )
    return page.locator(".live [role=status]").inner_text()


def run(page):
    press(page, "Run this page")
    return status(page)


# The words of each cell's output. A node that the run has not made anew is marked before.
TEXTS = """() => [...document.querySelectorAll(".bd-article div.cell")].map(cell => {
  const output = cell.querySelector(".cell_output")?.cloneNode(true);
  output?.querySelectorAll(".copybtn, script").forEach(e => e.remove());
  return output?.textContent ?? "";
})"""
MARK = """() => document.querySelectorAll(".cell_output > *").forEach(e => { e.isStored = true })"""
STORED = """() => [...document.querySelectorAll(".cell_output > *")].filter(e => e.isStored).length"""
EMPTY = """() => [...document.querySelectorAll(".cell_output img")].filter(e => e.checkVisibility() && !e.naturalWidth).length"""


# numpy 2.0 writes float16 in another way than 2.2.
OTHER_DIGITS = ("book/wrong-answers",)


def words(page, name=""):
    """The texts of all cells, without the spaces that say nothing."""
    texts = page.evaluate(TEXTS)
    if name.startswith(OTHER_DIGITS):
        number = re.compile(r"\d+\.?\d*(e[+-]\d+)?")
        texts = [
            number.sub(lambda m: f"{float(m[0]):.3g}", t) for t in texts
        ]
    return [re.sub(r"[\s\u200b]+", "", text) for text in texts]


def test_chinese_page_answers_in_chinese(opened, site):
    page = opened(f"{site}/zh/book/03-softmax.html")
    stored = words(page)
    page.evaluate(MARK)
    press(page, "运行本页")
    again = page.locator(".live button", has_text="全部运行")
    again.wait_for(timeout=300_000)
    said = page.locator(".live [role=status]")
    assert re.fullmatch(r"\d+ 个单元运行了 [\d.]+ 秒。", said.inner_text())
    assert words(page) == stored
    assert page.evaluate(STORED) == 0
    waiting = [i for i, text in enumerate(stored) if "还没有作答" in text]
    cell = page.locator(".bd-article div.cell").nth(waiting[0])
    field = cell.locator("textarea")
    field.fill("answer('03-odds', 5)")
    field.press("Shift+Enter")
    refused = "· 03-odds: 还不正确。需要一个数，取三位有效数字。提示："
    cell.locator("pre", has_text=refused).wait_for()
    assert page.problems == []


# What stands beside each cell, by its number.
BESIDE = """() => Object.fromEntries([...document.querySelectorAll(".live-row")].map(row =>
  [row.firstChild.ariaLabel.match(/\\d+/)[0], row.lastChild.textContent]))"""


def wrong_notes(nb, beside):
    """Cells that took long and do not say it, or much longer or shorter than they say."""
    for number, cell in enumerate(code_cells(nb), start=1):
        note = cell["metadata"].get("live_seconds")
        took = float(beside.get(str(number), "0 s").removesuffix(" s"))
        least, most = (2, 3 * note + 3) if note else (0, 10)
        if not least <= took < most:
            yield number, note, took


def hosts(addresses):
    return {urlsplit(address).netloc for address in addresses} - {""}


@pytest.mark.parametrize(
    "name",
    [
        name
        if name.startswith(CHECKED)
        else pytest.param(name, marks=pytest.mark.every_chapter)
        for name in CHAPTERS or ["no book"]
    ],
)
def test_chapter_runs_as_stored(opened, site, name):
    page = opened(f"{site}/{name}", color_scheme="light")
    here = urlsplit(site).netloc
    assert hosts(page.asked) == {here}
    stored = words(page, name)
    page.evaluate(MARK)
    said = run(page)
    print(f"{name}: {said}")  # `make live` shows it
    assert re.fullmatch(r"\d+ cells ran in [\d.]+ s\.", said), said
    assert words(page, name) == stored
    assert page.evaluate(STORED) == 0
    assert page.evaluate(EMPTY) == 0
    assert page.problems == []
    assert hosts(page.asked) == {here, pyodide_files.HOST}
    if not name.startswith(CHECKED):  # these run beside other tests
        nb = read(ROOT / name.replace(".html", ".ipynb"))
        assert list(wrong_notes(nb, page.evaluate(BESIDE))) == []
    page.add_style_tag(content=EVERYWHERE)
    page.add_script_tag(path=AXE)
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(600)  # the theme looks what scrolls
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found = page.evaluate(
                "async () => (await axe.run()).violations.map(v => [v.id, v.nodes[0].html])"
            )
            assert found == [], (width, scheme)
        assert (
            page.evaluate("document.scrollingElement.scrollWidth") <= width
        )


@pytest.mark.parametrize(
    "note, took, wrong",
    [
        (None, "9.9 s", False),
        (None, "10.0 s", True),
        (20, "62.9 s", False),
        (20, "63.0 s", True),
        (6, "2.0 s", False),
        (6, "1.9 s", True),
    ],
)
def test_what_a_note_may_say(note, took, wrong):
    nb = notebook(code_cell("1"), code_cell("2", live_seconds=note))
    found = list(wrong_notes(nb, {"1": "0.1 s", "2": took}))
    assert [number for number, *_ in found] == [2] * wrong


@pytest.mark.parametrize("name", PAGES or ["no book"])
def test_button_stands_where_code_is(opened, site, name):
    page = opened(f"{site}/{name}")
    live = page.locator(".live")
    has_code = page.locator(".cell_input").count() > 0
    assert live.count() == (has_code and name not in LEFT_OUT)
    if live.count():
        assert (
            f"60\u00a0MB, from {pyodide_files.HOST})" in live.inner_text()
        )
        assert live.bounding_box()["y"] < 400
        for width, least in ((1280, 36), (390, 44)):
            page.set_viewport_size({"width": width, "height": 844})
            box = live.get_by_role("button").bounding_box()
            assert box["height"] >= least


@pytest.mark.parametrize("name", CHAPTERS or ["no book"])
def test_a_page_only_read_is_hardly_heavier(name):
    text = (HTML / name).read_text(encoding="utf-8")
    own = r'<div class="live".*?</script>\n'
    without = re.sub(own, "", text, count=1, flags=re.S)
    assert without != text
    weights = [len(gzip.compress(t.encode(), 9)) for t in (text, without)]
    style = (ROOT / "book/assets/style.css").read_text(encoding="utf-8")
    rules = "".join(re.findall(r"[^}]*\.live[^}]*}", style))
    assert rules
    assert (
        weights[0] - weights[1] + len(gzip.compress(rules.encode()))
        < 3 * KIB
    )


def test_without_scripts_nothing_shows(browser, site):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site}/{CHAPTERS[0]}")
    assert not page.locator(".live").is_visible()
    context.close()


def test_from_disk_it_says_what_to_do(opened):
    page = opened((HTML / CHAPTERS[0]).as_uri())
    press(page, "Run this page")
    page.locator(".live", has_text="make serve").wait_for()


# --- what goes wrong on the way ---------------------------------------------------------------


@pytest.mark.parametrize(
    "missing, said",
    [
        (f"{HOST}**/pyodide.mjs", f"{pyodide_files.HOST} did not answer"),
        (f"{HOST}**/numpy-*", f"{pyodide_files.HOST} did not answer"),
        ("**/live/attnlib-*.whl", "lacks attnlib-"),
        ("**/live/live.json", "live.json is missing"),
    ],
)
def test_what_is_missing_is_said_in_one_line(opened, site, missing, said):
    page = opened(f"{site}/{CHAPTERS[0]}")
    stored = words(page)
    page.route(missing, lambda route: route.fulfill(status=404))
    press(page, "Run this page")
    line = page.locator(".live [role=status]", has_text=said)
    line.wait_for(timeout=60_000)
    assert "\n" not in line.inner_text()
    assert words(page) == stored


def test_attnlib_admits_what_the_distribution_brings(distribution):
    lock = json.loads((distribution / "pyodide-lock.json").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())[
        "project"
    ]
    assert lock["info"]["version"] == pyodide_files.VERSION
    for need in map(Requirement, project["dependencies"]):
        assert lock["packages"][need.name]["version"] in need.specifier, (
            need
        )


# --- a small page with a distribution of its own ----------------------------------------------

CELLS = [
    "from attnlib.book import answer, figures\nfigures.use_style()",
    "odds = ...\nanswer('03-odds', odds)",
    "number = 1\nprint(number)",
    "print(number + 1)",
    "import matplotlib.pyplot as plt\nplt.plot([0, 1])\nplt.show()",
    "import sympy\nsympy.sqrt(sympy.Symbol('x'))",
    "import warnings\nwarnings.warn('mind the gap')",
]
LAST = len(CELLS)


def build(folder, pyodide_source):
    """Build a small page, with PYODIDE set; what Sphinx says."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_markdown_cell("# A page")]
    notebook.cells += map(nbformat.v4.new_code_cell, CELLS)
    notebook.cells[3].metadata["live_seconds"] = 20
    nbformat.write(notebook, folder / "index.ipynb")
    settings = {
        "extensions": "myst_nb,live_pages",
        "html_theme": "sphinx_book_theme",
        "nb_execution_mode": "off",
    }
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-C",
        folder,
        folder / "html",
    ]
    for setting in settings.items():
        command += ["-D", "=".join(setting)]
    environment = {
        "PYTHONPATH": f"{ROOT / 'extensions'}",
        "PYODIDE": str(pyodide_source),
    }
    return subprocess.run(
        command,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def own_site(tmp_path_factory, distribution):
    folder = tmp_path_factory.mktemp("book")
    done = build(folder, distribution)
    assert done.returncode == 0, done.stderr
    with serve(folder / "html") as address:
        yield address


@pytest.fixture(scope="module")
def live(browser, own_site):
    """The small page after its first run, for all tests from here on."""
    page = browser.new_page(color_scheme="dark")
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(f"{own_site}/index.html")
    assert (
        "60\u00a0MB, from this site)" in page.locator(".live").inner_text()
    )
    press(page, "Run this page")
    page.locator(".live-row", has_text="about 20 s").wait_for()
    status(page)
    yield page
    page.close()


def code(page, number):
    return page.get_by_role(
        "textbox", name=f"Code of cell {number}", exact=True
    )


def output(page, number):
    return (
        page.locator(".bd-article div.cell")
        .nth(number - 1)
        .locator(".cell_output")
    )


def change(page, number, text):
    """Types the code of a cell and runs it; what its output says."""
    field = code(page, number)
    field.fill(text)
    field.press("Shift+Enter")
    status(page)
    return output(page, number).inner_text()


def test_with_its_own_pyodide_a_page_asks_no_other_host(live, own_site):
    assert f"{LAST} cells ran" in status(live)
    assert hosts(live.asked) == {urlsplit(own_site).netloc}


def test_outputs_of_each_kind(live):
    figure = output(live, 5).locator("img")
    source = figure.evaluate("async img => (await fetch(img.src)).text()")
    assert "prefers-color-scheme:dark" in source
    assert "stroke: var(--0072b2, #0072b2)" in source
    assert output(live, 6).locator(".katex-html").inner_text().strip() != ""
    assert (
        "UserWarning: mind the gap"
        in output(live, 7).locator(".stderr").inner_text()
    )


def test_exercise_is_refused_then_accepted(live):
    assert (
        output(live, 2).inner_text().strip()
        == "· 03-odds: not answered yet"
    )
    refused = change(live, 2, "answer('03-odds', 5)")
    assert (
        "not right yet. It takes a number, to three digits. Hint: "
        in refused
    )
    assert "not right yet" in status(live)
    accepted = change(
        live, 2, "import math\nanswer('03-odds', math.exp(5))"
    )
    assert accepted.strip() == "✓ 03-odds: right"
    assert status(live) == "Cell 2: ✓ 03-odds: right"


def test_changed_cell_changes_those_after_it(live):
    assert change(live, 3, "number = 41\nprint(number)").strip() == "41"
    assert output(live, 4).inner_text().strip() == "2"
    live.get_by_role("button", name="Run cell 4").click()
    assert status(live) == "Cell 4: done."
    assert output(live, 4).inner_text().strip() == "42"


def test_error_is_shown_as_python_shows_it(live):
    shown = change(live, 3, "def f():\n    return number / 0\n\nf()")
    assert re.search(r"^Traceback \(most recent call last\):", shown)
    assert re.search(r"Cell In\[\d+\], line 2\b", shown)
    assert shown.strip().endswith("ZeroDivisionError: division by zero")
    assert status(live) == "Cell 3: ZeroDivisionError: division by zero"
    assert "SyntaxError" in change(live, 3, "number =")


def test_keys(live):
    field = code(live, 3)
    field.fill("")
    field.press("Tab")
    live.keyboard.type("if number:")
    field.press("Enter")
    live.keyboard.type("/")
    assert field.input_value() == "    if number:\n        /"
    field.press("Shift+Tab")
    assert field.input_value() == "    if number:\n    /"
    field.press("ControlOrMeta+k")
    assert not live.locator("dialog[open]").count()
    field.press("ControlOrMeta+z")
    assert field.input_value() == "    if number:\n        /"
    field.press("ControlOrMeta+a")
    field.press("Shift+Tab")
    assert field.input_value() == "if number:\n    /"
    field.press("Escape")
    focused = live.evaluate("document.activeElement.ariaLabel")
    assert focused == "Run cell 3"


def test_field_lies_on_the_code_that_it_hides(live):
    press(live, "Reset")
    places = code(live, 1).evaluate("""area => [area, area.previousElementSibling].map(e => {
      const style = getComputedStyle(e), box = e.getBoundingClientRect();
      return [style.fontSize, style.lineHeight, style.fontFamily, box.x, box.y, box.width];
    })""")
    assert places[0] == places[1]
    color = "e => getComputedStyle(e).color"
    hidden = "rgba(0, 0, 0, 0)"
    assert code(live, 1).evaluate(color) == hidden
    code(live, 1).fill("pass")
    assert code(live, 1).evaluate(color) != hidden
    press(live, "Reset")


def test_stop_and_reset(live):
    code(live, 3).fill("while True:\n    pass")
    code(live, 3).press("Shift+Enter")
    live.wait_for_timeout(500)
    press(live, "Stop")
    assert status(live).startswith("Stopped")
    # A new Python knows nothing: the cells before are run again.
    code(live, 3).fill("number = 7")
    assert change(live, 4, "print(number)").strip() == "7"
    press(live, "Reset")
    assert code(live, 3).input_value() == CELLS[2]
    assert live.evaluate(BESIDE) == {
        str(i + 1): "about 20 s" if i == 2 else "" for i in range(LAST)
    }
    assert (
        "".join(words(live)) == ""
    )  # this page was stored without outputs
    assert status(live) == "The page is as it was stored."


@pytest.mark.parametrize(
    "lost", ["pyodide-lock.json", "sympy-1.13.3-py3-none-any.whl"]
)
def test_incomplete_pyodide_is_refused_by_name(
    tmp_path, distribution, lost
):
    folder = tmp_path / "part"
    folder.mkdir()
    for path in distribution.iterdir():
        if path.name != lost:
            (folder / path.name).symlink_to(path)
    with pytest.raises(ExtensionError, match=f"PYODIDE lacks.*{lost}"):
        pyodide_files.copy(folder, tmp_path / "site")


def test_pyodide_may_be_an_archive(tmp_path, distribution):
    archive = shutil.make_archive(tmp_path / "p", "tar", distribution)
    pyodide_files.copy(Path(archive), tmp_path / "site")
    taken = {path.name for path in (tmp_path / "site").iterdir()}
    assert {"pyodide.mjs", "sympy-1.13.3-py3-none-any.whl"} <= taken
    # pandas is in the archive, and no page needs it
    assert not [name for name in taken if name.startswith("pandas")]
