"""Pages that open at once and work without scripts, without a network, on a phone."""

import gzip
import json
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest
from browser import HTML
from test_pages import (
    PAGES,
    RAW,
    ROOT,
    SIZES,
    VISIBLE_TEXT,
    show,
    watched_page,
)

KIB = 1024
FIRST_LOAD = 130 * KIB  # as a server sends it
UNPACKED = 500 * KIB
# Its formulas' drawings are a quarter of it.
MANY_FORMULAS = {"book/06-scaling.html": 540 * KIB}
PACKED = {".woff2", ".png"}  # nothing is gained by gzip
SITE = 8 * KIB * KIB  # without copies to keep or to run
AXE = ROOT / "node_modules/axe-core/axe.min.js"

# What readers type, and the page that answers it.
SEARCHES = {
    "why sqrt": "book/06-scaling.html",
    "temperature": "book/03-softmax.html",
    "vanishing gradient": "book/05-collapse.html",
    "muP": "book/12-beyond-sqrt.html",
    "A11": "book/13-ledger.html#A11",
    "gradient of softmax": "book/04-softmax-gradient.html",
    "Jacobian": "book/04-softmax-gradient.html",
    "GPT-Neo": "book/real-code.html",
}

pytestmark = pytest.mark.needs_browser


def weights(url: str) -> tuple[int, int]:
    """Bytes of one of the site's files: as a server with gzip sends it, and unpacked."""
    content = (HTML / unquote(urlsplit(url).path).lstrip("/")).read_bytes()
    packed = Path(urlsplit(url).path).suffix in PACKED
    sent = content if packed else gzip.compress(content, 9)
    return len(sent), len(content)


@pytest.mark.parametrize("name", PAGES or ["no book"])
def test_first_load_is_light(browser, site, name):
    with watched_page(browser, site) as page:
        asked = set()
        page.on("request", lambda request: asked.add(request.url))
        page.goto(f"{site}/{name}", wait_until="networkidle")
    loaded = {
        url.removeprefix(site): weights(url)
        for url in asked
        if url.startswith(site)
    }
    sent, unpacked = map(sum, zip(*loaded.values(), strict=True))
    assert sent <= FIRST_LOAD, loaded
    assert unpacked <= MANY_FORMULAS.get(name, UNPACKED), loaded


@pytest.mark.parametrize("language", ["en", "zh"])
def test_site_is_small(language):
    files = [
        path
        for path in HTML.rglob("*")
        if path.is_file()
        and (language == "zh") == ("zh" in path.relative_to(HTML).parts)
    ]
    size = sum(
        path.stat().st_size
        for path in files
        if not {"_sources", "live"} & set(path.parts)
        and path.suffix not in (".pdf", ".epub")
    )
    assert size <= SITE


def test_figures_hold_no_more_than_is_drawn():
    figures = [p.read_text("utf-8") for p in HTML.rglob("_images/*.svg")]
    assert figures
    for svg in figures:
        assert "prefers-color-scheme:dark" in svg
        assert "<metadata" not in svg
        assert not re.search(r"\d\.\d{3}", svg.replace("scale(.01563)", ""))


@pytest.fixture(scope="module")
def plain(browser):
    """A reader without scripts, in either scheme."""
    contexts = {
        scheme: browser.new_context(
            java_script_enabled=False, color_scheme=scheme
        )
        for scheme in ("light", "dark")
    }
    yield contexts
    for context in contexts.values():
        context.close()


@pytest.mark.parametrize("name", PAGES or ["no book"])
def test_without_scripts(plain, site, name):
    colors = []
    for context in plain.values():
        page = context.new_page()
        page.goto(f"{site}/{name}")
        text = page.evaluate(VISIBLE_TEXT)
        assert [
            line for line in text.splitlines() if RAW.search(line)
        ] == []
        style = "getComputedStyle(document.body)"
        colors.append(
            page.evaluate(f"[{style}.color, {style}.backgroundColor]")
        )
        folded = page.locator("article details")
        opened = folded.evaluate_all(
            "all => all.filter(e => e.open).length"
        )
        assert opened == 0
        if folded.count():
            folded.first.locator("summary").click()
            assert folded.first.evaluate("e => e.open")
        page.close()
    (ink, paper), (dark_ink, dark_paper) = colors
    assert ink != dark_ink and paper != dark_paper


@pytest.mark.parametrize("name", PAGES or ["no book"])
def test_no_formula_is_cut_on_a_phone(browser, site, name):
    """A formula wider than its place scrolls there, and nothing else of it is hidden."""
    with watched_page(browser, site, SIZES[1]) as page:
        page.goto(f"{site}/{name}", wait_until="load")
        cut = page.locator(".katex").evaluate_all("""all => all.filter(e => {
          const scroller = e.closest(".katex-display, table, .admonition") ?? e.parentElement;
          const right = Math.max(...[...e.querySelectorAll(".katex-base")].map(b => b.getBoundingClientRect().right));
          return right > innerWidth && !["auto", "scroll"].includes(getComputedStyle(scroller).overflowX);
        }).map(e => e.textContent)""")
    assert cut == []


def test_what_scrolls_can_be_reached_with_the_keyboard_once_it_is_near(
    browser, site
):
    with watched_page(browser, site, SIZES[1]) as page:
        page.goto(f"{site}/book/06-scaling.html", wait_until="load")
        listings = page.locator("article section section pre:visible")
        wide = listings.evaluate_all(
            "all => all.findLastIndex(e => e.scrollWidth > e.clientWidth)"
        )
        last = listings.nth(wide)
        assert last.get_attribute("tabindex") is None
        last.scroll_into_view_if_needed()
        page.wait_for_timeout(300)
        assert last.get_attribute("tabindex") == "0"


def test_links_within_a_page_lead_to_their_places(browser, site):
    """However far, and though what lies between is not laid out."""
    with watched_page(browser, site) as page:
        page.goto(f"{site}/book/06-scaling.html", wait_until="load")
        links = page.locator(".bd-sidebar-secondary a[href^='#']")
        for link in links.all()[-2::-3]:
            link.click()
            page.wait_for_timeout(300)
            top = page.evaluate(
                "document.querySelector(location.hash).getBoundingClientRect().top"
            )
            assert 0 <= top < 150


# The browser's own count of what moved; its script notes it before the page comes.
NOTE_SHIFTS = """window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });"""


@pytest.mark.parametrize("name", ["06-scaling", "11-trained-model"])
def test_nothing_moves_while_a_page_comes_slowly(browser, site, name):
    with watched_page(browser, site, SIZES[1]) as page:
        page.add_init_script(NOTE_SHIFTS)
        page.context.new_cdp_session(page).send(
            "Network.emulateNetworkConditions",
            {
                "offline": False,
                "latency": 150,
                "downloadThroughput": 200 * KIB,
                "uploadThroughput": 100 * KIB,
            },
        )
        page.goto(f"{site}/book/{name}.html", wait_until="networkidle")
        assert page.evaluate("window.shift") <= 0.05


def test_still_figure_is_loaded_where_the_script_fails_and_only_there(
    browser, site
):
    def visit(breaks):
        with watched_page(browser, site) as page:
            if breaks:
                page.route(
                    "**/index.html",
                    lambda route: route.fulfill(
                        body=route.fetch()
                        .text()
                        .replace("render({ model", "broken({ model")
                    ),
                )
            stills = []
            page.on(
                "request", lambda r: "still-" in r.url and stills.append(r)
            )
            page.goto(f"{site}/book/index.html", wait_until="networkidle")
            image = page.locator(".explorable img").first
            return len(stills), image.is_visible()

    assert visit(breaks=False) == (0, False)
    assert visit(breaks=True) == (1, True)


@pytest.mark.parametrize("place", ["server", "disk"])
@pytest.mark.parametrize("query, answer", SEARCHES.items())
def test_search_answers(browser, site, query, answer, place):
    root = site if place == "server" else HTML.as_uri()
    page = browser.new_page()
    page.goto(f"{root}/search.html?q={quote(query)}")
    first = page.locator("#search-results li").first
    first.wait_for()
    assert first.locator("a").get_attribute("href").startswith(answer)
    assert len(first.locator("p").inner_text().split()) > 5
    assert not RAW.search(page.locator("#search-results").inner_text())
    page.close()


@pytest.mark.parametrize(
    "spellings", [("d_k", "dₖ", "dk"), ("√dk", "√dₖ", "√d_k", "sqrt dk")]
)
def test_each_spelling_finds_the_same(browser, site, spellings):
    found = []
    page = browser.new_page()
    for query in spellings:
        page.goto(f"{site}/search.html?q={quote(query)}")
        links = page.locator("#search-results li a")
        links.first.wait_for()
        found.append(
            links.evaluate_all("all => all.map(a => a.pathname + a.hash)")
        )
    page.close()
    assert len(found[0]) > 10 and all(hits == found[0] for hits in found)


# As if a reader had been in each section: only then is it laid out.
EVERYWHERE = "section { content-visibility: visible !important }"
# Contrast, three quarters of axe's time, is a matter of the scheme: once in each.
COLOURS = ("color-contrast", "link-in-text-block")
STATES = [
    (SIZES[0], "light", True),
    (SIZES[0], "dark", False),
    (SIZES[1], "light", False),
    (SIZES[1], "dark", True),
]


@pytest.mark.parametrize("name", [*PAGES, "search.html"])
def test_axe_finds_nothing(browser, site, name):
    found = []
    with watched_page(browser, site) as page:
        page.goto(f"{site}/{name}", wait_until="load")
        page.add_style_tag(content=EVERYWHERE)
        page.add_script_tag(path=AXE)
        for size, scheme, contrast in STATES:
            show(page, size, scheme)
            found += page.evaluate(
                "async rules => (await axe.run({rules})).violations",
                {rule: {"enabled": contrast} for rule in COLOURS},
            )
    assert found == [], json.dumps(
        [
            (v["id"], [n["html"][:200] for n in v["nodes"][:3]])
            for v in found
        ],
        indent=1,
    )
