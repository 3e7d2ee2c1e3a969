"""The Chinese edition: its catalogues are whole, and its pages are Chinese."""

import re
import sys
from collections import Counter

import pytest
import yaml
from babel.messages.pofile import read_po
from working_tree import ROOT

sys.path[:0] = [str(ROOT / "extensions"), str(ROOT / "scripts")]

import chinese  # noqa: E402
from translation import CATALOGUES, is_words, phrases  # noqa: E402

GLOSSARY = yaml.safe_load(
    (ROOT / "locales/zh_CN/glossary.yml").read_text(encoding="utf-8")
)
PAGES = sorted((CATALOGUES / "book").glob("*.po"))
(ANSWER,) = re.findall(
    r"^> (.+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M
)
HAN, MARKS = "[\u4e00-\u9fff]", "，。：；？！（）“”、"

FORMULA = re.compile(r"\$[^$]+\$")
ROLE = re.compile(r"\{([\w:]+)\}`(?:[^`<]*<)?([^`>]*)>?`")


def entries(path):
    with path.open("rb") as file:
        return [message for message in read_po(file, "zh_CN") if message.id]


@pytest.fixture(
    params=[*PAGES, CATALOGUES / "words.po"], ids=lambda p: p.stem
)
def catalogue(request):
    return entries(request.param)


def kept(text):
    """What a translation keeps, in any order: formulas, roles' targets, code, links, attributes."""
    # In a docstring, which is no MyST, this role is that of plain `names`.
    text = text.replace("{py:obj}", "")
    bare = FORMULA.sub(" ", text)
    plain = ROLE.sub(" ", bare)
    found = FORMULA.findall(text) + ROLE.findall(bare)
    return Counter(
        found
        + re.findall(r"``.+?``|`[^`]+`|\]\([^)\s]+\)|\{[#.][^}]*\}", plain)
    )


def prose(text):
    """A message without formulas, code and targets."""
    text = re.sub(
        r"\{(?:doc|term|ref)\}`([^`<]*)(<[^>]*>)?`", r" \1 ", text
    )
    text = re.sub(
        r"\{[\w:]+\}`[^`]*`|``.+?``|`[^`]*`|https?://\S+", " C ", text
    )
    return re.sub(r"\]\([^)]*\)", "]", FORMULA.sub(" M ", text))


def typeset(text):
    """A message as a reader sees it, with a letter for each formula and each piece of code."""

    def shown(role):
        name, words = role[1], role[2].partition("<")[0].strip()
        return (
            "图 1" if name == "numref" else words if "<" in role[2] else "C"
        )

    text = re.sub(r"\{([\w:]+)\}`([^`]*)`", shown, FORMULA.sub("M", text))
    text = re.sub(r"\[([^][]*)\](\([^)]*\)|\{[^}]*\})", r"\1", text)
    # After a heading in the line.
    text = re.sub(rf"(?<=[{MARKS}]\*\*) ", "", text)
    return re.sub(r"``.+?``|`[^`]*`", "C", text).replace("**", "")


def test_every_page_has_a_catalogue():
    pages = {
        path.stem
        for suffix in ("md", "ipynb")
        for path in (ROOT / "book").glob(f"*.{suffix}")
    }
    assert pages == {path.stem for path in PAGES}


def test_everything_is_translated(catalogue):
    assert [m.id for m in catalogue if m.fuzzy or not m.string] == []


def test_formulas_code_and_links_survive(catalogue):
    changed = [
        (m.id, kept(m.id) - kept(m.string), kept(m.string) - kept(m.id))
        for m in catalogue
        if kept(m.id) != kept(m.string)
    ]
    assert changed == []


def test_terms_are_those_of_the_glossary(catalogue):
    wrong = [
        (term["english"], m.id, m.string)
        for m in catalogue
        for term in GLOSSARY
        if m.string != m.id
        and re.search(
            rf"\b({term['english']})\b", prose(m.id), re.IGNORECASE
        )
        and not any(word in m.string for word in term["chinese"])
    ]
    assert wrong == []


def test_no_term_is_rendered_two_ways(catalogue):
    unwanted = [word for term in GLOSSARY for word in term.get("never", ())]
    found = [
        (w, m.string) for m in catalogue for w in unwanted if w in m.string
    ]
    assert found == []


@pytest.mark.parametrize(
    "slip",
    [
        f"{HAN}[A-Za-z0-9]|[A-Za-z0-9]{HAN}",  # a space between Chinese and Latin
        f"{HAN} {HAN}",
        f"[{MARKS}] | [{MARKS}]",  # and none beside a Chinese mark
        f"{HAN} *[,;:?!]|{HAN}\\.(?=\\s|$)",  # Chinese marks after Chinese
    ],
)
def test_marks_and_spaces(catalogue, slip):
    found = [
        m.string for m in catalogue if re.search(slip, typeset(m.string))
    ]
    assert found == []


def test_bold_text_ends(catalogue):
    """MyST sees no end where a mark stands before it and a word behind."""
    found = [
        bold
        for m in catalogue
        for bold in re.findall(r"\*\*[^*]+\*\*.?", m.string)
        if re.search(rf"[{MARKS}]\*\*[^\s{MARKS}]", bold)
    ]
    assert found == []


def test_what_cells_show_is_in_the_catalogue():
    wanted = {text for text in chinese.words() if is_words(text)}
    assert wanted == {m.id for m in entries(CATALOGUES / "words.po")}


SCRIPTS = entries(CATALOGUES / "scripts.po")


@pytest.mark.parametrize("phrase", SCRIPTS, ids=lambda m: m.id[:30])
def test_phrases_are_pieces_of_their_scripts(phrase):
    assert phrase.string and not phrase.fuzzy
    for place, _ in phrase.locations:
        assert phrase.id in (ROOT / place).read_text(encoding="utf-8"), (
            place
        )
    assert Counter(re.findall(r"\$\{\w+", phrase.id)).keys() >= (
        Counter(re.findall(r"\$\{\w+", phrase.string)).keys()
    )


@pytest.mark.parametrize(
    "script",
    sorted((ROOT / "attnlib/book/explorables").glob("*.js")),
    ids=lambda path: path.stem,
)
def test_no_sentence_of_a_script_stays_english(script):
    source = script.read_text(encoding="utf-8")
    source = re.sub(
        r"^\s*//.*$| // .*$|^import .*$", "", source, flags=re.M
    )
    for english, translated in phrases()[script.name].items():
        source = source.replace(english, translated)
    literals = re.findall(
        r'"[^"\n]*"|`[^`]*`', re.sub(r"\$\{[^{}]*\}", "", source)
    )
    css = re.compile(
        r"color-mix|calc\(|^.?(line|dots?|bar|chart|row|curve) "
    )
    assert [
        text
        for text in literals
        if re.search(r"[A-Za-z]{2,} [a-z]{2,}", text)
        and not css.search(text)
    ] == []


def test_the_answer_is_the_same_wherever_it_stands():
    readme = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
    (quoted,) = re.findall(r"^> (.+)$", readme, re.M)
    found = [m.string for p in PAGES for m in entries(p) if m.id == ANSWER]
    assert len(found) == 6
    assert {quoted, *found} == {quoted}
