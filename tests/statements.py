"""The SQL that stands in code."""

import ast
from collections.abc import Iterator


def texts(code: str) -> Iterator[str]:
    """The string constants of some code; what an f-string takes from elsewhere is left out."""
    tree = ast.parse(code)
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    parts = {id(part) for one in joined for part in one.values}
    for one in joined:
        yield "{}".join(part.value for part in one.values if isinstance(part, ast.Constant))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value
