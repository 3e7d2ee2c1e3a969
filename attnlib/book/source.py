"""Show a function where a chapter explains it: the source that runs."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable

WIDTH = 76  # what fits the page
# A file, which JupyterLab opens; the build makes it the page's address.
API_PAGE = "api.md"


def public_name(function: Callable) -> str:
    """Give the name under which the API page lists a function.

    Parameters
    ----------
    function : function or class

    Returns
    -------
    str
        With its package if that has it, else with its module:
        ``"attnlib.softmax"``, ``"attnlib.retrieval.train"``.
    """
    module, name = function.__module__, function.__name__
    package = module.rpartition(".")[0]
    is_there = getattr(sys.modules.get(package), name, None) is function
    return f"{package if is_there else module}.{name}"


def source(function: Callable) -> str:
    """Give the source text of a function without its docstring and types.

    Parameters
    ----------
    function : function or class
        Written in Python, in a file.

    Returns
    -------
    str
        The source that runs. Docstring and types, which `help` and the
        book's API page show, are left out, and the signature without them
        is wrapped anew; the body stands as it is written. What has no
        docstring, or nothing else, is shown whole.

    Raises
    ------
    OSError
        If the source is not to be found.
    TypeError
        For what has no source, such as a function written in C.
    """
    text = textwrap.dedent(inspect.getsource(function))
    definition = ast.parse(text).body[0]
    lines = text.splitlines()
    first, *rest = definition.body
    if not rest or ast.get_docstring(definition) is None:
        return "\n".join(lines)
    head, body = lines[: first.lineno - 1], lines[first.end_lineno :]
    if isinstance(definition, ast.FunctionDef):
        head[definition.lineno - 1 :] = [_signature(definition, text)]
    return "\n".join(head + body)


def _signature(function: ast.FunctionDef, text: str) -> str:
    """A signature without its types, wrapped where it is too long."""

    def as_written(default):  # ast would write "a" as 'a'
        return default and ast.Name(ast.get_source_segment(text, default))

    arguments = function.args
    arguments.defaults = list(map(as_written, arguments.defaults))
    arguments.kw_defaults = list(map(as_written, arguments.kw_defaults))
    for node in ast.walk(arguments):
        if isinstance(node, ast.arg):
            node.annotation = None
    names = ast.unparse(arguments)
    line = f"def {function.name}({names}):"
    if len(line) <= WIDTH:
        return line
    names = textwrap.fill(names, WIDTH - 4, break_on_hyphens=False)
    return f"def {function.name}(\n{textwrap.indent(names, '    ')}\n):"


def show_source(*functions: Callable) -> None:
    """Display the source of functions, highlighted, each with a link.

    Docstrings and types are left out: they stand where the link leads, on
    the book's API page.

    Parameters
    ----------
    *functions : function or class
        Written in Python, in a file; in the order in which they are shown.
    """
    from IPython.display import Markdown, display

    code = "\n\n\n".join(map(source, functions))
    links = " · ".join(
        f"[{f.__name__}]({API_PAGE}#{public_name(f)})" for f in functions
    )
    display(Markdown(f"```python\n{code}\n```\n\nReference: {links}"))
