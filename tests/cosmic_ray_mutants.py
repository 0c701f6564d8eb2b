"""Print the mutants of a source file, one JSON object a line: line, operator, text.

    python cosmic_ray_mutants.py FILE

It runs in the environment of Cosmic Ray, which `make mutants` creates. `text` is the whole file
with one change. Left out: annotations and blocks for type checkers, which do not run; `final`,
`abstractmethod`, `frozen` and `strict`, which forbid and compute nothing; replacements that only
raise TypeError (`x << y`); device moves, which a CPU cannot notice; the number of rows at once
(`x.split(500)`), which changes the memory; another one of equals (`x[0].numel()`); repeated texts.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names

ARITHMETIC = "Add|Sub|Mul|Div"
KEPT = re.compile(
    rf"ReplaceBinaryOperator_({ARITHMETIC})_({ARITHMETIC})"
    r"|ReplaceBinaryOperator_(FloorDiv|Mod)_(Mul|Add)|ReplaceBinaryOperator_Pow_(Mul|Add)"
    r"|ReplaceBinaryOperator_(BitOr_BitAnd|BitAnd_BitOr)"
    r"|ReplaceComparisonOperator_(Lt|LtE|Gt|GtE)_(Eq|NotEq|Lt|LtE|Gt|GtE)"
    r"|ReplaceComparisonOperator_(Eq_NotEq|NotEq_Eq|Is_IsNot|IsNot_Is|In_NotIn|NotIn_In)"
    r"|ReplaceUnaryOperator_Delete_\w+"
    r"|AddNot|ReplaceTrueWithFalse|ReplaceFalseWithTrue|ReplaceAndWithOr|ReplaceOrWithAnd"
    r"|ReplaceBreakWithContinue|ReplaceContinueWithBreak|NumberReplacer|RemoveDecorator"
    r"|ZeroIterationForLoop"
)
NOT_VALUES = {"torch", "F", "math", "nn", "self", "super", "cls"}  # without a call: TypeError
SAME_ON_CPU = {"cpu", "contiguous", "to"}
NO_RESULT = re.compile(
    r"\s*(@(final|override|abstractmethod)\b|if TYPE_CHECKING\b|@dataclass\(frozen=True\))"
)

SAME_RESULT = re.compile(  # what stands before the value
    r"strict=(?=True)|\.(split|batches)\((?=\d+\))|\[(?=0\]\.numel\(\))|param_groups\[(?=0\])"
)

Position = tuple[int, int]


class DropCall(Operator):
    """Replace `x.method(…)` by `x`: the usual wrong edit of tensor code, as a lost `.detach()`."""

    @staticmethod
    def _calls(node: Any) -> list[int]:
        if node.type not in ("atom_expr", "power"):
            return []
        children = node.children
        return [
            i
            for i in range(1, len(children) - 1)
            if children[i].type == "trailer"
            and children[i].children[0].value == "."
            and children[i].children[1].value not in SAME_ON_CPU
            and children[i + 1].type == "trailer"
            and children[i + 1].children[0].value == "("
            and not (i == 1 and children[0].get_code().strip() in NOT_VALUES)
        ]

    def mutation_positions(self, node: Any) -> list[tuple[Position, Position]]:
        # a list, because `mutate` changes the node between two positions
        children = node.children if self._calls(node) else []
        return [(children[i].start_pos, children[i + 1].end_pos) for i in self._calls(node)]

    def mutate(self, node: Any, index: int) -> Any:
        i = self._calls(node)[index]
        del node.children[i : i + 2]
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


def operators() -> Iterator[tuple[str, Operator]]:
    """Names and instances of the operators in use."""
    for name in operator_names():
        short = name.split("/")[-1]
        if KEPT.fullmatch(short):
            yield short, get_operator(name)()
    yield "DropCall", DropCall()


def not_run(source: str) -> list[tuple[Position, Position]]:
    """Spans (line, column) that only type checkers read."""
    spans = []
    for node in ast.walk(ast.parse(source)):
        parts: list[Any] = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            parts += node.body
        spans += [
            ((part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset))
            for part in parts
            if isinstance(part, ast.AST)
        ]
    return spans  # columns are bytes in ast, but no annotation has other letters before it


def left_out(line: str, column: int) -> bool:
    """True for a place that computes nothing, or whose value changes nothing: see the top."""
    keyword_only = line[column : column + 2] == "*,"
    same = any(found.end() == column for found in SAME_RESULT.finditer(line))
    return keyword_only or same or NO_RESULT.match(line) is not None


def mutants(source: str) -> Iterator[dict[str, Any]]:
    """All mutants of a file."""
    tree, lines, skipped, seen = get_ast(source), source.split("\n"), not_run(source), {source}
    for name, operator in operators():
        positions = (
            place for node in ast_nodes(tree) for place in operator.mutation_positions(node)
        )
        for occurrence, (start, _) in enumerate(list(positions)):
            line = lines[start[0] - 1]
            if left_out(line, start[1]) or any(a <= start < b for a, b in skipped):
                continue
            text = mutate_code(source, operator, occurrence)
            if text is not None and text not in seen:
                seen.add(text)
                yield {"line": start[0], "operator": name, "text": text}


if __name__ == "__main__":
    for mutant in mutants(Path(sys.argv[1]).read_text(encoding="utf-8")):
        print(json.dumps(mutant))
