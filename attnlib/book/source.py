"""Show a function where a chapter explains it: the source that runs."""

import ast
import inspect
import textwrap
from collections.abc import Callable


def source(function: Callable) -> str:
    """Give the source text of a function without its docstring.

    Parameters
    ----------
    function : function or class
        Written in Python, in a file.

    Returns
    -------
    str
        The source that runs; `help` shows the docstring. One that holds
        nothing else keeps it.

    Raises
    ------
    OSError
        If the source is not to be found.
    TypeError
        For what has no source, such as a function written in C.
    """
    text = textwrap.dedent(inspect.getsource(function))
    definition = ast.parse(text).body[0]
    first, *rest = definition.body
    lines = text.splitlines()
    if rest and ast.get_docstring(definition) is not None:
        del lines[first.lineno - 1 : first.end_lineno]
    return "\n".join(lines)


def show_source(*functions: Callable) -> None:
    """Display the source of functions, highlighted.

    Parameters
    ----------
    *functions : function or class
        As `source` takes them, in the order in which they are shown.
    """
    from IPython.display import Markdown, display

    code = "\n\n\n".join(map(source, functions))
    display(Markdown(f"```python\n{code}\n```"))
