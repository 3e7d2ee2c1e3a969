"""Where the book's own files are, from a checkout or from an installed copy."""

from pathlib import Path

import numpy as np

_PACKAGE = Path(__file__).resolve().parent


def book_file(relative):
    """Path of a file under ``book/``, such as ``"claims.yml"`` or ``"data/x.npz"``.

    A checkout (editable install) has it in ``../book``; a wheel carries a copy
    in ``attnlib/_book`` (see pyproject.toml), for readers who installed the
    package alone.
    """
    for folder in (_PACKAGE.parent / "book", _PACKAGE / "_book"):
        path = folder / relative
        if path.exists():
            return path
    raise FileNotFoundError(
        f"book/{relative} is neither beside the attnlib package nor inside it: "
        "install attnlib from a clone of the book"
    )


def book_arrays(name):
    """Arrays of ``book/data/<name>.npz``, read-only; float16 as float32, scalars as numbers."""
    with np.load(book_file(f"data/{name}.npz")) as archive:
        fields = {key: archive[key] for key in archive.files}
    for key, array in fields.items():
        if array.dtype == np.float16:
            array = array.astype(np.float32)
        array.setflags(write=False)
        fields[key] = array.item() if array.ndim == 0 else array
    return fields
