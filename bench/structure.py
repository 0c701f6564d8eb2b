"""Statistics of the code: folders, repeated methods, long functions, many arguments.

python bench/structure.py
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

SRC = Path(__file__).resolve().parents[1] / "src" / "latentlab"
MAX_LINES, MAX_ARGUMENTS = 25, 8


def main() -> None:
    files = sorted(SRC.rglob("*.py"))
    functions = [f for path in files for f in _functions(path)]
    text = "".join(path.read_text() for path in (SRC / "models").glob("*.py"))
    print("modules beside the folders:", ", ".join(sorted(p.name for p in SRC.glob("*.py"))))
    print("folders:", len([p for p in SRC.iterdir() if (p / "__init__.py").is_file()]))
    for room in ("models", "networks", "losses"):
        print(f"files of {room}:", len([*(SRC / room).glob("[a-z]*.py")]))
    print(f"methods of models that repeat another one: {repeated_fraction():.1%} of the lines")
    print("`type: ignore` in models:", text.count("type: ignore"))
    print(f"functions with more than {MAX_LINES} lines:", sum(map(_is_long, functions)))
    print(
        "  without signature and docstring:", sum(_length(_body(f)) > MAX_LINES for f in functions)
    )
    print(f"functions with more than {MAX_ARGUMENTS} arguments:", sum(map(_has_many, functions)))


def repeated_fraction() -> float:
    """Lines of methods equal to an earlier method of another model, docstrings aside."""
    total, copies = 0, defaultdict(list)
    for path in sorted((SRC / "models").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            for method in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(method, ast.FunctionDef):
                    lines = _length([method])
                    total += lines
                    code = "\n".join(map(ast.unparse, _body(method)))
                    copies[method.name, ast.unparse(method.args), code].append(lines)
    return sum(sum(lines[1:]) for lines in copies.values()) / total


def _functions(path: Path) -> Iterator[ast.FunctionDef]:
    tree = ast.parse(path.read_text())
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def _body(function: ast.FunctionDef) -> list[ast.stmt]:
    """The statements, without the docstring where there is more than that."""
    documented = ast.get_docstring(function) is not None and len(function.body) > 1
    return function.body[documented:]


def _length(nodes: list[ast.stmt]) -> int:
    return (nodes[-1].end_lineno or 0) - nodes[0].lineno + 1


def _is_long(function: ast.FunctionDef) -> bool:
    return _length([function]) > MAX_LINES


def _has_many(function: ast.FunctionDef) -> bool:
    given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return len([a for a in given if a.arg not in ("self", "cls")]) > MAX_ARGUMENTS


if __name__ == "__main__":
    main()
