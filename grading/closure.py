"""What a text depends on in a package, and whether that has changed.

The grader's key and the freshness of notebooks (``tools.freshness``) share :func:`digest`.
"""

import ast
import contextlib
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

LENGTH = 12  # hexadecimal digits of a digest: enough to notice a change, short in a diff


def digest(path: Path) -> str:
    """Return a short hash of what a file means.

    Comments, docstrings and layout of a Python module do not count, nor do the line ends of a text.

    Raises:
        OSError: the file cannot be read.
    """
    state = path.stat()
    return _digest(path, state.st_mtime_ns, state.st_size)


@cache  # weights have many MB, and every notebook asks for the same modules
def _digest(path: Path, *_state: int) -> str:
    content = path.read_bytes()
    if b"\0" not in content:
        content = content.replace(b"\r\n", b"\n")
        if path.suffix == ".py":
            with contextlib.suppress(SyntaxError):  # half-written: its text stands for it
                content = "".join(_meaning(ast.parse(content))).encode()
    return hashlib.sha256(content).hexdigest()[:LENGTH]


def _meaning(node: object) -> Iterator[str]:
    """Yield a syntax tree in a form that no version of Python changes, as ``ast.dump`` does."""
    if isinstance(node, ast.JoinedStr):  # Python 3.12 adds empty texts to it
        node = ast.JoinedStr([part for part in node.values if getattr(part, "value", None) != ""])
    if isinstance(node, ast.AST):
        yield f"{type(node).__name__}("
        for name, value in ast.iter_fields(node):
            if value is not None and value != []:  # newer versions have more of these
                yield f"{name}="
                yield from _meaning(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for item in node:
            if not _is_docstring(item):
                yield from _meaning(item)
                yield ","
        yield "]"
    else:
        yield ascii(node)


def _is_docstring(node: object) -> bool:
    is_constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_constant and isinstance(node.value.value, str)


def modules(text: str, *packages: Path) -> list[Path]:
    """Return the packages' modules that a text's imports reach, directly or through others.

    An import counts wherever it stands, inside of functions too; packages on the way (their
    ``__init__.py``) count with what they import.

    Args:
        text: Python.
        packages: their folders; what is imported from others is left out.
    """
    found: set[Path] = set()
    folders = {package.name: package.parent for package in packages}
    todo = list(_imported(ast.parse(text), ""))
    while todo:
        name = todo.pop()
        if (top := name.split(".")[0]) not in folders:
            continue
        base = folders[top].joinpath(*name.split("."))
        for path in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if path.is_file() and path not in found:
                found.add(path)
                within = name if path.name == "__init__.py" else name.rpartition(".")[0]
                tree = ast.parse(path.read_bytes(), path.name)
                todo += [*_parents(name), *_imported(tree, within)]
    return sorted(found)


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def _imported(tree: ast.AST, within: str) -> Iterator[str]:
    """Yield the dotted names that a module of the package `within` may import."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = within.split(".")[: len(within.split(".")) - node.level + 1]
            module = ".".join([*(base if node.level else ()), *filter(None, [node.module])])
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        yield from names


def data(package: Path) -> list[Path]:
    """Return the package's files that are no code and no prose: weights, records, figures."""
    return sorted(
        path
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc", ".md"}
    )
