"""Write the asyncio twins of the blocking classes: python/kvstore/aio/{store,client,cluster}.py.

A method that waits becomes a coroutine and awaits what it calls; a generator that waits becomes an asynchronous one;
operators go. The source is edited as text at the places that its syntax tree names, so that comments and layout stay.
With `--check` it writes nothing and fails when a file differs.
"""

from __future__ import annotations

import ast
import pathlib
import re
import sys
from typing import Iterator, List, NamedTuple, Set

PACKAGE = pathlib.Path(__file__).resolve().parent.parent / "python" / "kvstore"
FILES = ("store.py", "client.py", "cluster.py")

# What every waiting method comes down to, whatever object it belongs to.
ROOTS = {"_run", "run"}
# Methods of a class that wait in asyncio's protocols only.
COROUTINES = {"close", "__enter__", "__exit__"}
OPERATORS = {"__getitem__", "__setitem__", "__delitem__", "__contains__"}

# Phrases first, then names.
PHRASES = {
    "from kvstore._core import Client as Channel": "from kvstore._bridge import AsyncChannel as Channel",
    "from kvstore.store import Store": "from kvstore.aio.store import AsyncStore",
    "from kvstore.cluster import Cluster": "from kvstore.aio.cluster import AsyncCluster",
    ">>> for member in db.cluster.members():": ">>> for member in await db.cluster.members():",
    "...         db.cluster.remove": "...         await db.cluster.remove",
    "Picklable (as configuration) and usable after fork(). One per process is enough.": (
        "Picklable (as configuration), but not usable after fork(). Belongs to the loop that first awaits it; another\n"
        "    loop gets its own bridge. A cancelled write may still be applied. Close it with `async with` or aclose()."
    ),
    "use it in annotations. Thread-safe.": "use it in annotations. For asyncio.",
    "No len(), no iteration: see": "No operators: see",
    ">>> for entry": ">>> async for entry",
    ">>> for conflict": ">>> async for conflict",
    "def close(": "def aclose(",
    "self.close()": "self.aclose()",
}
NAMES = {
    "Store": "AsyncStore",
    "View": "AsyncView",
    "Watch": "AsyncWatch",
    "Client": "AsyncClient",
    "Cluster": "AsyncCluster",
    "Iterator": "AsyncIterator",
    "__enter__": "__aenter__",
    "__exit__": "__aexit__",
}
ORIGIN = re.compile(r"`kvstore/aio/(\w+\.py)` is made from this file by scripts/generate_aio\.py\.")


class Edit(NamedTuple):
    """Replace what lies between two offsets."""

    start: int
    end: int
    text: str


def methods_of(tree: ast.Module) -> List[ast.FunctionDef]:
    """Every method of the module's classes."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return [node for cls in classes for node in cls.body if isinstance(node, ast.FunctionDef)]


def waits(method: ast.FunctionDef, names: Set[str]) -> Iterator[ast.Call]:
    """The calls in a method that wait: of a root, or of a method in `names` of its own object."""
    for call in ast.walk(method):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            is_own = isinstance(call.func.value, ast.Name) and call.func.value.id == "self"
            if call.func.attr in ROOTS or (is_own and call.func.attr in names):
                yield call


def is_generator(method: ast.FunctionDef) -> bool:
    """Whether a call of it returns at once; its caller has nothing to await."""
    return any(isinstance(node, ast.Yield) for node in ast.walk(method))


def edits(source: str) -> Iterator[Edit]:
    """Where `async` and `await` go, and which methods vanish."""
    tree = ast.parse(source)
    lines = source.splitlines(keepends=True)
    starts = [sum(map(len, lines[:count])) for count in range(len(lines) + 1)]
    methods = [method for method in methods_of(tree) if method.name not in OPERATORS]
    names = set(ROOTS | COROUTINES)
    # A method that calls one that waits waits, too; until no more are found.
    while True:
        found = {method.name for method in methods if not is_generator(method) and any(waits(method, names))}
        if found <= names:
            break
        names |= found
    for method in methods:
        if method.name in names or any(waits(method, names)):
            start = starts[method.lineno - 1] + method.col_offset
            yield Edit(start, start, "async ")
        for call in waits(method, names):
            start = starts[call.lineno - 1] + call.col_offset
            yield Edit(start, start, "await ")
    for method in methods_of(tree):
        if method.name in OPERATORS:
            # With the blank line after it.
            yield Edit(starts[method.lineno - 1], starts[(method.end_lineno or method.lineno) + 1], "")


def convert(source: str, name: str) -> str:
    """The twin of a module."""
    for edit in sorted(set(edits(source)), reverse=True):
        source = source[: edit.start] + edit.text + source[edit.end :]
    source = ORIGIN.sub(f"Made from kvstore/{name} by scripts/generate_aio.py: change that one.", source)
    for old, new in PHRASES.items():
        source = source.replace(old, new)
    return re.sub(r"\b(" + "|".join(NAMES) + r")\b", lambda match: NAMES[match.group()], source)


def main() -> int:
    """Write the files, or compare them."""
    is_check = sys.argv[1:] == ["--check"]
    differing = 0
    for name in FILES:
        twin = PACKAGE / "aio" / name
        text = convert((PACKAGE / name).read_text("utf-8"), name)
        if twin.exists() and twin.read_text("utf-8") == text:
            continue
        differing += 1
        if is_check:
            print(f"{twin}: differs from what scripts/generate_aio.py makes of {name}")
        else:
            twin.write_text(text, "utf-8")
    return int(is_check and differing > 0)


if __name__ == "__main__":
    sys.exit(main())
