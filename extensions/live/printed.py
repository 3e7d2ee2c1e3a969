"""What attnlib prints for a reader, of exercises and of evidence, in the language of the page."""

import re
from html import escape, unescape

LINES = (
    (r"([✓·]) ([\w-]+): (right|not answered yet)", "{} {}: {}"),
    (
        r"· ([\w-]+): (not right yet)(.*)\. It takes (.+)\. Hint: (.+)",
        "· {}: {}{}。需要{}。提示：{}",
    ),
    # On a finished page "✓ A01" is a link before it.
    (r"(✓ A\d\d )?· (.+): (.+)", "{}· {}: {}"),
    (r"chapter (\d+)", "第 {} 章"),
    (r"(.+), in the notation", "{}，见记号表"),
    (r"(.+): ([<>\d−].*|yes|no)", "{}: {}"),  # in the ledger
    (r"(.*练习 .+) (\(.+\))", "{} {}"),  # of an exercise with a title
)


def printed(line: str, words: dict[str, str]) -> str:
    """A line with its parts translated; as it is where it is none of these."""
    straight = line.replace("’", "'")
    if straight in words:
        return words[straight]
    for pattern, form in LINES:
        if found := re.fullmatch(pattern, straight):
            return form.format(
                *(in_words(part, words) for part in found.groups(""))
            )
    return line


def in_words(part, words):
    return words.get(part, part.replace(" and <", " 且 <"))


def printed_lines(text: str, words: dict[str, str]) -> str:
    """Several lines, each translated as `printed` does it."""
    lines = []
    for line in text.split("\n"):
        bare = line.strip()
        lines.append(
            line.replace(bare, printed(bare, words)) if bare else line
        )
    return "\n".join(lines)


def shown(html: str, words: dict, phrases: dict) -> str:
    """A line of evidence, a listing or a figure that moves, with translated words."""
    html = re.sub("^Reference:", words["Reference:"], html, flags=re.M)
    html = re.sub(
        r"(?<=>)✓[^<]+",
        lambda line: escape(printed(unescape(line[0]), words)),
        html,
    )
    for script, pieces in phrases.items():
        if f'"explorable-{script[:-3]}"' in html:
            for english, chinese in pieces.items():
                html = html.replace(english, chinese)
    return html
