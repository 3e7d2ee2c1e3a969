"""The book's furniture: what chapters need beside the numbers.

The ledger of claims, exercises that check themselves, the figures' look,
the source of the functions, and the data that the book ships.
"""

from attnlib.book import figures
from attnlib.book.data import (
    minilm_heads,
    running_example,
    training_runs,
    wrong_constants,
)
from attnlib.book.exercises import answer
from attnlib.book.ledger import check
from attnlib.book.source import show_source

__all__ = [
    "answer",
    "check",
    "figures",
    "minilm_heads",
    "running_example",
    "show_source",
    "training_runs",
    "wrong_constants",
]
