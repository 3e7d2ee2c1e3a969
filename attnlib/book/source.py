"""Show a function where a chapter explains it: the source that runs, not a copy of it."""

import ast
import inspect
import textwrap


def source(function):
    """Source text of ``function`` without its docstring (``help`` shows that)."""
    text = textwrap.dedent(inspect.getsource(function))
    body = ast.parse(text).body[0].body
    lines = text.splitlines()
    if ast.get_docstring(ast.parse(text).body[0]) and len(body) > 1:
        del lines[body[0].lineno - 1 : body[0].end_lineno]
    return "\n".join(lines)


def show_source(*functions):
    """Display the functions' source as highlighted code."""
    from IPython.display import Markdown, display

    display(Markdown("```python\n" + "\n\n\n".join(map(source, functions)) + "\n```"))
