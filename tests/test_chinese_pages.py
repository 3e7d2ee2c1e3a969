"""The Chinese pages, in a browser: nothing on them is left in English, and they find what one looks for."""

import re
from functools import cache
from urllib.parse import quote

import pytest
from browser import HTML
from bs4 import BeautifulSoup
from test_pages import PAGES, open_page, watched_page

pytestmark = pytest.mark.needs_browser

CHINESE = [
    f"zh/{name}" for name in [*PAGES, "search.html", "genindex.html"]
]

# What a reader sees outside code, in the figures that move, too.
TEXTS = """() => {
  const skip = "script, style, noscript, pre, code, kbd, .katex, .citation, [lang=en], .sig, dt strong, table.genindextable";
  const found = [document.title];
  const look = (root) => {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const text = walker.currentNode.textContent.trim();
      if (text && !walker.currentNode.parentElement?.closest(skip)) found.push(text);
    }
    for (const e of root.querySelectorAll("*")) {
      for (const name of ["alt", "title", "aria-label", "aria-valuetext", "placeholder"])
        if (e.hasAttribute(name) && !e.closest(".katex, [lang=en], .bibtex")) found.push(e.getAttribute(name));
      if (e.shadowRoot) look(e.shadowRoot);
    }
  };
  look(document.body);
  return found;
}"""
# Three words in a row; names of papers and people in a reference's hint aside.
SENTENCE = re.compile(r"[A-Za-z]{2,},? [a-z]{2,},? [a-z]{2,}")
PAPER = re.compile(r"\b(19|20)\d\d\b|https?://|arXiv")
# The book's sentence, and an English term behind its Chinese one.
EXAMPLE = re.compile(
    r"(A river bank )?holds water, a bank stores money|（[A-Za-z ,-]+）"
)


@cache
def parse(page):
    return BeautifulSoup(page.read_text("utf-8"), "html.parser")


def english(texts):
    return [
        text
        for text in texts
        if SENTENCE.search(EXAMPLE.sub("", text)) and not PAPER.search(text)
    ]


@pytest.mark.parametrize("name", CHINESE)
def test_nothing_is_left_in_english(browser, site, name):
    with watched_page(browser, site) as page:
        open_page(page, f"{site}/{name}")
        assert page.locator("html").get_attribute("lang") == "zh-CN"
        texts = page.evaluate(TEXTS)
        assert sum(bool(re.search("[一-鿿]", text)) for text in texts) > 5
        assert english(texts) == []
        assert page.problems == []


@pytest.mark.parametrize("name", CHINESE)
def test_each_page_leads_to_its_twin_and_back(name):
    page = HTML / name
    for language, twin, other in (
        ("en", name.removeprefix("zh/"), "中文"),
        ("zh-CN", name, "English"),
    ):
        (link,) = parse(page).select("a.btn-language")
        page = (page.parent / link["href"]).resolve()
        assert page == HTML / twin
        assert parse(page).html["lang"] == language
        names = [
            a.text.strip() for a in parse(page).select("a.btn-language")
        ]
        assert names == [other]


def test_marks_are_as_wide_as_chinese_letters(browser, site):
    fonts = (
        "[...document.fonts].map(font => font.family.replaceAll('\"', ''))"
    )
    with watched_page(browser, site) as page:
        page.goto(f"{site}/zh/book/06-scaling.html")
        assert "wide marks" in page.evaluate(fonts)


def test_a_choice_leads_on_through_the_chapters(browser, site):
    with watched_page(browser, site) as page:
        page.goto(f"{site}/book/06-scaling.html")
        page.locator("a.btn-language").click()
        page.wait_for_url(f"{site}/zh/book/06-scaling.html")
        page.locator("a.right-next").click()
        page.wait_for_url(f"{site}/zh/book/07-attention-layer.html")


@pytest.mark.parametrize("place", ["site", "disk"])
@pytest.mark.parametrize(
    "query, answer",
    [
        ("方差", "方差"),
        ("点积的方差", "book/06-scaling"),
        ("注意力坍塌", "book/05-collapse"),
        ("梯度消失", "book/05-collapse"),
    ],
)
def test_search_answers_in_chinese(browser, site, query, answer, place):
    root = site if place == "site" else HTML.as_uri()
    page = browser.new_page()
    page.goto(f"{root}/zh/search.html?q={quote(query)}")
    first = page.locator("#search-results li").first
    link = first.locator("a")
    assert answer in link.get_attribute("href") + link.inner_text()
    marked = first.locator("mark").all_inner_texts()
    assert query[-2:] in "".join(marked)
    page.close()


def test_cells_answer_in_chinese(browser, site):
    with watched_page(browser, site) as page:
        open_page(page, f"{site}/zh/book/03-softmax.html")
        outputs = page.locator(".cell_output pre").all_text_contents()
        replies = re.findall(r"^[✓·] 03-.*$", "".join(outputs), re.M)
        assert "· 03-odds: 还没有作答" in replies
        assert "✓ 03-odds: 正确" in replies
        lines = page.locator("p.evidence").all_text_contents()
        assert any("最小的权重: > 0" in line for line in lines)
        assert english(lines) == []


@pytest.mark.parametrize("name", PAGES or ["no book"])
def test_code_is_the_same_in_both_languages(name):
    listings = [
        [
            code.text
            for code in soup.select(
                ".cell_input pre, div.highlight-python pre"
            )
        ]
        for soup in (parse(HTML / name), parse(HTML / "zh" / name))
    ]
    assert listings[0] == listings[1]
