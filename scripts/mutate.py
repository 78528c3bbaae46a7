"""``make mutate``: change one thing in the source at a time, and see whether a test fails. What survives is listed.

A sample: mutants are chosen at random from all of ``src/serversent`` but demos, migrations and templates, each is tried
in a copy of the project, with the tests of its module first. ``--seed`` and ``--count`` make it repeatable;
``--module hub`` looks at one module.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = Path("src/serversent")
SECONDS = 240

LEFT_OUT = {"demo", "migrations", "templatetags", "locale", "static", "templates"}

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}

# Tests beside those of the module's own room. A mutant that all of them let live is a survivor.
MORE_TESTS = {
    "wire": ["tests/property/test_wire.py"],
    "brokers": ["tests/channels/test_hub.py", "tests/property/test_channels.py"],
    "channels": ["tests/access/test_revocations.py", "tests/property/test_channels.py"],
    "concurrency": ["tests/views", "tests/serving"],
    "servers": ["tests/servers/test_adapters.py", "tests/servers/test_unread.py"],
    "serving": ["tests/views", "tests/servers/test_applications.py", "tests/servers/test_unread.py"],
    "views": ["tests/serving", "tests/access"],
    "testing": ["tests/test_suites.py"],
}
ROOT_TESTS = ["tests/test_checks.py", "tests/test_conf.py", "tests/test_commands.py", "tests/views"]


class Mutant(ast.NodeTransformer):
    """Changes the node with one number, and remembers what it did."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen = 0
        self.change = ""
        self.line = 0

    def _is_it(self, node: ast.AST) -> bool:
        self.seen += 1
        if self.seen - 1 != self.number:
            return False
        self.line = getattr(node, "lineno", 0)
        return True

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        kind = type(node.ops[0])
        if len(node.ops) == 1 and kind in COMPARISONS and self._is_it(node):
            self.change = f"{kind.__name__} -> {COMPARISONS[kind].__name__}"
            node.ops = [COMPARISONS[kind]()]
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        if self._is_it(node):
            is_and = isinstance(node.op, ast.And)
            self.change = "and -> or" if is_and else "or -> and"
            node.op = ast.Or() if is_and else ast.And()
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Not) and self._is_it(node):
            self.change = "not x -> x"
            return node.operand
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        swaps: dict[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add}
        kind = type(node.op)
        is_text = any(
            isinstance(side, ast.Constant) and isinstance(side.value, str) for side in (node.left, node.right)
        )
        if kind in swaps and not is_text and self._is_it(node):
            self.change = f"{kind.__name__} -> {swaps[kind].__name__}"
            node.op = swaps[kind]()
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, bool) and self._is_it(node):
            self.change = f"{node.value} -> {not node.value}"
            return ast.copy_location(ast.Constant(not node.value), node)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, (ast.Call, ast.Await)) and self._is_it(node):
            self.change = f"left out: {ast.unparse(node)[:70]}"
            return ast.copy_location(ast.Pass(), node)
        return node


def modules(only: str) -> Iterator[Path]:
    for path in sorted((ROOT / SOURCE).rglob("*.py")):
        relative = path.relative_to(ROOT / SOURCE)
        if not LEFT_OUT.intersection(relative.parts) and (not only or relative.stem == only):
            yield relative


def count(path: Path) -> int:
    mutant = Mutant(-1)
    mutant.visit(ast.parse((ROOT / SOURCE / path).read_text()))
    return mutant.seen


def tests_of(path: Path) -> list[str]:
    """Return the tests of a module: the module's own, its room's, and those that ``MORE_TESTS`` adds."""
    room = path.parts[0] if len(path.parts) > 1 else path.stem
    own = sorted((ROOT / "tests").rglob(f"test_{path.stem}.py"))
    folder = ROOT / "tests" / room
    # The folder of the servers' adapters has the tests of whole servers, which take minutes.
    of_room = [folder] if folder.is_dir() and room != "servers" else []
    found = [str(each.relative_to(ROOT)) for each in [*own, *of_room]]
    more = MORE_TESTS.get(room, ROOT_TESTS if len(path.parts) == 1 else [])
    return list(dict.fromkeys([*found, *more]))


def survives(copy: Path, path: Path, source: str) -> bool:
    target = copy / SOURCE / path
    original = target.read_text()
    target.write_text(source)
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--matrix",
        "-q",
        "-x",
        "-m",
        "not long",
        "-p",
        "no:cacheprovider",
        *tests_of(path),
    ]
    try:
        ended = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:  # it hangs: that is seen
        return False
    finally:
        target.write_text(original)
    return ended.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--module", default="", help="the name of one module")
    options = parser.parse_args()
    places = [(path, number) for path in modules(options.module) for number in range(count(path))]
    chosen = random.Random(options.seed).sample(places, min(options.count, len(places)))
    survivors = 0
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "project"
        left_out = shutil.ignore_patterns(".*", "node_modules", "__pycache__", "_build")
        shutil.copytree(ROOT, copy, ignore=left_out)
        for done, (path, number) in enumerate(chosen, 1):
            mutant = Mutant(number)
            tree = ast.fix_missing_locations(mutant.visit(ast.parse((ROOT / SOURCE / path).read_text())))
            lives = survives(copy, path, ast.unparse(tree))
            survivors += lives
            word = "SURVIVED" if lives else "killed"
            print(f"{done:3} {word:8} {SOURCE / path}:{mutant.line} {mutant.change}", flush=True)
    print(f"{survivors} of {len(chosen)} mutants survived (of {len(places)} places, seed {options.seed})")


if __name__ == "__main__":
    main()
