"""The Chinese edition: the same notebooks, with the catalogues in locales/zh_CN.

python scripts/chinese.py update   # the catalogues follow the English text
python scripts/chinese.py build    # into _build/html/zh, beside the English pages
"""

import json
import re
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import yaml
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po
from bs4 import BeautifulSoup

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "extensions")]

from translation import CATALOGUES, CHINESE, LABELS, is_words  # noqa: E402

from attnlib.book.exercises import EXERCISES  # noqa: E402

WORK, TEMPLATES = ROOT / "_build" / "zh", ROOT / "_build" / "gettext"
HTML = ROOT / "_build" / "html" / "zh"
# What the theme says in English, having no Chinese for it.
OF_THEME = (
    "Color mode",
    "Hide code cell content",
    "Hide code cell output",
    "Hide code cell source",
    "Home",
    "Link to this definition",
    "Link to this equation",
    "Link to this heading",
    "Link to this image",
    "Link to this term",
    "Main",
    "Search this book...",
    "Show code cell content",
    "Show code cell output",
    "Show code cell source",
    "Toggle primary sidebar",
    "Toggle secondary sidebar",
)
# What attnlib prints beside the words of an exercise, a claim or a listing.
REPLIES = (
    "right",
    "not right yet",
    "not answered yet",
    "yes",
    "no",
    "Reference:",
)
# What the translation of the book's settings changes.
SETTINGS = {
    "title": "注意力为什么要除以 √dₖ？",
    "author": "本书的贡献者",
}
FOOTER = "<p>文字与插图：CC BY 4.0。代码：BSD-3-Clause。</p>"


def write_config(language: str, folder: Path) -> Path:
    """The book's own settings, with a language; beside what is built with them."""
    config = yaml.safe_load(
        (ROOT / "_config.yml").read_text(encoding="utf-8")
    )
    if language == CHINESE:
        config |= SETTINGS
        config["html"]["extra_footer"] = FOOTER
    sphinx = config["sphinx"]
    for name, path in sphinx["local_extensions"].items():
        sphinx["local_extensions"][name] = str(ROOT / path)
    sphinx["config"] |= {
        "language": language,
        "locale_dirs": [str(ROOT / "locales")],
        "gettext_compact": False,  # one catalogue for each page
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "_config.yml"
    path.write_text(
        yaml.safe_dump(config, allow_unicode=True), encoding="utf-8"
    )
    return path


def jupyter_book(language: str, folder: Path, *options: str) -> None:
    command = [Path(sys.executable).parent / "jupyter-book", "build", ROOT]
    config = write_config(language, folder)
    command += ["--config", config, "--path-output", folder]
    done = subprocess.run([*command, *options])
    if done.returncode:
        sys.exit(done.returncode)


def build() -> None:
    jupyter_book(CHINESE, WORK, "-W", "--keep-going", "-n")
    shutil.rmtree(HTML, ignore_errors=True)
    shutil.copytree(WORK / "_build" / "html", HTML)
    print(f"The Chinese edition is in {HTML.relative_to(ROOT)}/index.html.")


def what(text: str) -> str:
    """What was measured, of a line of evidence; nothing of the ledger's copies of such lines."""
    if line := re.fullmatch(r"✓ A\d\d · (.+): .+", text):
        return line[1]
    return (
        ""
        if re.fullmatch(r"chapter \d+|.+: [<>\d].*|.+: yes", text)
        else text
    )


def words_of_outputs():
    """What cells show for a reader, and the texts beside their pictures."""
    for path in sorted((ROOT / "book").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                source = "".join(cell["source"])
                titles = re.findall(r"^`+\{exercise\} (.+)", source, re.M)
                yield from (f"({title})" for title in titles)
            shown = cell["metadata"].get("mystnb", {})
            yield shown.get("image", {}).get("alt", "")
            yield shown.get("code_prompt_show", "")
            yield shown.get("code_prompt_hide", "")
            for output in cell.get("outputs", ()):
                html = "".join(output.get("data", {}).get("text/html", ""))
                soup = BeautifulSoup(html, "html.parser")
                for element in soup.select("script, style"):
                    element.extract()
                yield from (
                    element[label]
                    for label in LABELS
                    for element in soup.select(f"[{label}]")
                )
                yield from map(what, soup.find_all(string=True))


def words():
    yield from OF_THEME + REPLIES
    yield from words_of_outputs()
    for exercise in EXERCISES.values():
        yield exercise.kind
        yield exercise.hint
    for claim in yaml.safe_load(
        (ROOT / "book/claims.yml").read_text(encoding="utf-8")
    ):
        yield from (claim["verdict"], claim["step"], claim["truth"])


def update_catalogue(name: str, messages: list[str]) -> None:
    template, path = Catalog(), CATALOGUES / f"{name}.po"
    for message in messages:
        template.add(message)
    catalogue = Catalog(CHINESE)
    if path.is_file():
        catalogue = read_po(path.open("rb"), CHINESE)
    catalogue.update(template)
    # Other flags are guesses about the braces of formulas.
    for message in catalogue:
        message.flags &= {"fuzzy"}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = BytesIO()
    write_po(
        text, catalogue, width=0, omit_header=True, ignore_obsolete=True
    )
    path.write_bytes(text.getvalue())


def update() -> None:
    jupyter_book(
        "en",
        TEMPLATES,
        "--builder",
        "custom",
        "--custom-builder",
        "gettext",
    )
    templates = TEMPLATES / "_build" / "gettext"
    for path in sorted(templates.rglob("*.pot")):
        template = read_po(path.open("rb"))
        messages = [
            message.id
            for message in template
            if message.id and is_words(message.id)
        ]
        name = path.relative_to(templates).with_suffix("")
        update_catalogue(str(name), messages)
    update_catalogue("words", [text for text in words() if is_words(text)])


if __name__ == "__main__":
    commands = {"update": update, "build": build}
    if sys.argv[1:2] not in ([name] for name in commands):
        sys.exit(__doc__)
    commands[sys.argv[1]]()
