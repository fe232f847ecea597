"""Do checks refuse more than the mistakes that they were written for?

Solutions are changed at random, the same on every machine: one place of the syntax tree each, as by
a slip of the fingers or of the mind. What then gives something else than the solution must be
refused. What could run for ever is left alone: the conditions and bodies of ``while`` loops.
"""

import ast
import copy
import random
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path

from modarch_utils.checks.core import agree
from tests.checks.answers import cells, definition
from tests.checks.graded import GRADED

KEPT = Path(__file__).with_name("mutation.toml")
MOST = 90  # of a function
SEEDS = 101, 102
DRIFT = 3  # changed solutions at the edge of rounding, which another processor may tell apart


def assert_refused(exercise: str) -> None:
    """No changed solution passes, and as many are called by a name as ``mutation.toml`` keeps."""
    kept = tomllib.loads(KEPT.read_text("utf-8"))[exercise]
    different, named, missed = 0, 0, []
    for function, graded in GRADED[exercise].items():
        (solution, own), *others = _variants(exercise, function)
        right = [graded.outputs(solution, seed) for seed in SEEDS]
        general = graded.general
        for student, text in others:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                came = (graded.outputs(student, seed) for seed in SEEDS)
                if all(agree(a, b) for a, b in zip(came, right, strict=True)):
                    continue
                report = graded.check(student)
            different += 1
            if report.passed:
                missed.append(f"{function}: {_line(own, text)}")
            wrong = {f.likely for f in report.findings if f.passed is False}
            named += not wrong <= general
    print(f"{exercise}: different = {different}, named = {named}")
    assert not missed, "\n".join(missed)
    assert named >= kept["named"]
    assert abs(different - kept["different"]) <= DRIFT, "were the solution or its outputs changed?"


def _variants(exercise, function):
    """The solution's function, then changed ones, each with its text."""
    space = {"__name__": "student"}
    for cell in cells(exercise):
        exec(compile(cell, f"<{exercise}>", "exec"), space)
        if definition(cell) == function:
            own = cell
    for text in [own, *mutants(own, function, MOST)]:
        there = dict(space)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # a changed text may be odd Python
            code = compile(text, f"<{exercise}>", "exec")
        exec(code, there)
        yield there[function], text


def _line(own, text):
    """The line that was changed."""
    lines = zip(*(ast.unparse(ast.parse(each)).splitlines() for each in (own, text)), strict=False)
    return next(f"{a.strip()}  ->  {b.strip()}" for a, b in lines if a != b)


OPERATORS = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div, ast.Add],
    ast.Div: [ast.Mult, ast.FloorDiv],
    ast.FloorDiv: [ast.Div, ast.Mod],
    ast.Mod: [ast.FloorDiv],
    ast.Pow: [ast.Mult],
    ast.BitOr: [ast.BitAnd],
    ast.Lt: [ast.LtE, ast.Gt],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.In: [ast.NotIn],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
}


def mutants(code: str, function: str, most: int, seed: int = 0) -> list[str]:
    """Texts in which one thing of a function or class differs, `most` of them by lot.

    Args:
        code: a Python text that defines it.
        function: its name.
        most: how many, at most.
        seed: decides which.
    """
    tree = ast.parse(code)
    (root,) = (node for node in tree.body if getattr(node, "name", "") == function)
    found, number = {}, len(list(_sites(root)))
    for site in range(number):
        for way in range(99):
            changed = copy.deepcopy(tree)
            (root,) = (node for node in changed.body if getattr(node, "name", "") == function)
            parent, name, index, node = list(_sites(root))[site]
            ways = list(_ways(node, root))
            if way >= len(ways):
                break
            if index is None:
                setattr(parent, name, ways[way])
            else:
                getattr(parent, name)[index] = ways[way]
            found[ast.unparse(ast.fix_missing_locations(changed))] = None
    found.pop(ast.unparse(tree), None)
    texts = list(found)
    return texts if len(texts) <= most else random.Random(seed).sample(texts, most)


def _sites(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Every node below with its place: parent, field and position in it."""
    for name, value in ast.iter_fields(node):
        if name in ("decorator_list", "annotation", "returns") or isinstance(node, ast.JoinedStr):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.While | ast.Raise):
                continue
            yield node, name, index, child
            yield from _sites(child)


def _ways(node: ast.AST, root: ast.AST) -> Iterator[ast.AST]:
    """Other nodes in a node's place."""
    for other in OPERATORS.get(type(node), []):
        yield other()
    match node:
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield from (ast.Constant(n) for n in dict.fromkeys((value + 1, value - 1, -value, 2)))
        case ast.Constant(value=float(value)):
            yield from (ast.Constant(x) for x in dict.fromkeys((2 * value, value / 10, 1.0, 0.0)))
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.Call(func=func, args=args, keywords=keywords):
            for k in range(len(keywords)):
                yield ast.Call(func, args, keywords[:k] + keywords[k + 1 :])
            if len(args) > 1:
                yield ast.Call(func, [args[1], args[0], *args[2:]], keywords)
            if (
                len(args) == 1
                and not keywords
                and not isinstance(args[0], ast.GeneratorExp | ast.Starred)
            ):
                yield args[0]
        case ast.BinOp(left=left, op=op, right=right):
            yield ast.BinOp(right, op, left)
            yield left
            yield right
        case ast.Name(id=name, ctx=ast.Load()):
            arguments = [n.args for n in ast.walk(root) if isinstance(n, ast.arguments)]
            names = {argument.arg for some in arguments for argument in some} - {"self"}
            if name in names:
                yield from (ast.Name(other, ast.Load()) for other in sorted(names - {name}))
        case ast.Assign() | ast.AugAssign() | ast.If():
            yield ast.Pass()
        case ast.Expr(value=value) if not isinstance(value, ast.Constant):
            yield ast.Pass()
