"""``make lint``: comments, docstrings and pages name things. It counts clauses that stand for a noun.

"What was sent", "who has none" and the like make a reader guess which thing is meant. Fewer than one such clause in a
thousand words is allowed; ``--list`` shows all of them.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = 1.0  # in a thousand words

# A clause stands for a noun at the beginning of a sentence or a part of one, and after these words.
BEFORE = (
    "of to for in by with from on that and or than as is are tells? told takes? sends? hears? gives? has have knows? "
    "says? makes? marks? drops? joins? sees? reads? returns? yields? beside behind through"
)
CLAUSE = re.compile(
    rf"(?:(?:^|[.:;,(])\s*|\b(?:{BEFORE.replace(' ', '|')})\s+)(?:what|whoever|who)\b", re.IGNORECASE | re.MULTILINE
)
WORD = re.compile(r"[A-Za-z']+")


DOCUMENTED = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef


def of_python(text: str) -> Iterator[tuple[int, str]]:
    """Yield docstrings and comments, with their lines."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DOCUMENTED) and (docstring := ast.get_docstring(node)):
            yield node.body[0].lineno, docstring
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")


def of_markdown(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines outside of code."""
    is_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code:
            yield number, re.sub(r"``?[^`]*``?", "", line)


def of_script(text: str) -> Iterator[tuple[int, str]]:
    """Yield the comments of JavaScript."""
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.search(r"(?:^\s*/?\*+|//)\s?(.*)", line):
            yield number, re.sub(r"@\w+ \{[^}]*\}", "", found[1])


KINDS = {".py": of_python, ".md": of_markdown, ".js": of_script}


def files() -> Iterator[Path]:
    yield from (ROOT / "README.md", ROOT / "CONTRIBUTING.md")
    for folder in ("src/serversent", "client", "docs"):
        for path in sorted((ROOT / folder).rglob("*")):
            is_bundle = path.suffix == ".js" and "static" in path.parts and path.name != "notifications.js"
            is_made = is_bundle or {"_build", "migrations", "traces"}.intersection(path.parts)
            if path.suffix in KINDS and not is_made:
                yield path


def main() -> int:
    words, found = 0, []
    for path in files():
        for number, text in KINDS[path.suffix](path.read_text()):
            words += len(WORD.findall(text))
            found += [f"{path.relative_to(ROOT)}:{number}: {match[0].strip()}" for match in CLAUSE.finditer(text)]
    rate = 1000 * len(found) / words
    if "--list" in sys.argv or rate >= ALLOWED:
        print(*found, sep="\n")
    print(f"prose: {len(found)} clauses for nouns in {words} words, {rate:.2f} per 1,000; below {ALLOWED:g} is allowed")
    return int(rate >= ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
