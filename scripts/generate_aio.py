"""Write the asyncio twins of the blocking classes, python/kvstore/aio/*.py.

A method that waits becomes a coroutine and awaits what it calls; a generator that waits becomes an asynchronous one;
operators and map() go. Which methods wait is found out class by class, over all files. The source is edited as text at
the places that its syntax tree names, so that comments and layout stay. With `--check` it writes nothing and fails when
a file differs.
"""

from __future__ import annotations

import ast
import pathlib
import re
import sys
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

PACKAGE = pathlib.Path(__file__).resolve().parent.parent / "python" / "kvstore"
FILES = (
    "calls.py",
    "store.py",
    "client.py",
    "cluster.py",
    "batch.py",
    "txn.py",
    "lease.py",
    "lock.py",
)

# What every waiting method comes down to, whatever object it belongs to, and what asks before it is done.
ROOTS = {"_run", "run", "_learn", "_strong"}
# Methods of a class that wait in asyncio's protocols only.
COROUTINES = {"close", "__enter__", "__exit__"}
OPERATORS = {"__getitem__", "__setitem__", "__delitem__", "__contains__"}
# Methods that the twins have not, beside operators: a mapping cannot await.
LEFT_OUT = OPERATORS | {"map"}
# Names under which a method has an object of another class.
RECEIVERS = {"txn": "Txn", "lease": "Lease", "client": "Client"}

# Phrases first, then names.
PHRASES = {
    "from kvstore._core import Client as Channel": "from kvstore._bridge import AsyncChannel as Channel",
    "from kvstore.map import Map\n": "",
    "    Callable,\n": "    Awaitable,\n    Callable,\n",
    "fn: Callable[[Txn[V]], R]": "fn: Callable[[Txn[V]], Awaitable[R]]",
    "result = fn(txn)": "result = await fn(txn)",
    "        granted._begin()  # noqa: SLF001\n": "",
    "        with Client(": "        async with Client(",
    ">>> def move(txn):": ">>> async def move(txn):",
    'txn.put("to", txn.get("from"))': 'txn.put("to", await txn.get("from"))',
    ">>> db.transact": ">>> await db.transact",
    ">>> with db": ">>> async with db",
    "...     lock.scope().put": "...     await lock.scope().put",
    '...     db.put("worker': '...     await db.put("worker',
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
    "Calls": "AsyncCalls",
    "Store": "AsyncStore",
    "View": "AsyncView",
    "Watch": "AsyncWatch",
    "Client": "AsyncClient",
    "Cluster": "AsyncCluster",
    "Batch": "AsyncBatch",
    "Txn": "AsyncTxn",
    "Lease": "AsyncLease",
    "Lock": "AsyncLock",
    "Election": "AsyncElection",
    "Iterator": "AsyncIterator",
    "__enter__": "__aenter__",
    "__exit__": "__aexit__",
}
ORIGIN = re.compile(r"`kvstore/aio/(\w+\.py)` is made from this file by scripts/generate_aio\.py\.")
IMPORT = re.compile(r"from kvstore\.(" + "|".join(name[:-3] for name in FILES) + r") import")


class Edit(NamedTuple):
    """Replace what lies between two offsets."""

    start: int
    end: int
    text: str


Method = Tuple[str, ast.FunctionDef]
"""The name of a class, and a method of it."""


class Classes:
    """The classes of all files, and which of their methods wait."""

    def __init__(self, sources: Dict[str, str]) -> None:
        trees = [ast.parse(source) for source in sources.values()]
        classes = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
        self.bases = {cls.name: [name for name in map(_name_of, cls.bases) if name] for cls in classes}
        methods = [method for tree in trees for method in methods_of(tree)]
        self.waiting = {(cls, method.name) for cls, method in methods if method.name in COROUTINES | ROOTS}
        # A method that calls one that waits waits, too; until no more are found.
        while True:
            found = {(cls, method.name) for cls, method in methods if self._waits(cls, method)}
            if found <= self.waiting:
                break
            self.waiting |= found

    def _waits(self, cls: str, method: ast.FunctionDef) -> bool:
        # A call of a generator returns at once; its caller has nothing to await.
        return method.name not in OPERATORS and not is_generator(method) and any(self.calls(cls, method))

    def calls(self, cls: str, method: ast.FunctionDef) -> Iterator[ast.Call]:
        """The calls in a method that wait."""
        for call in ast.walk(method):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                receiver = _name_of(call.func.value)
                owner = cls if receiver == "self" else RECEIVERS.get(receiver or "")
                if call.func.attr in ROOTS or (owner is not None and self.is_waiting(owner, call.func.attr)):
                    yield call

    def is_waiting(self, cls: str, method: str) -> bool:
        """Whether a class has or inherits such a method, and it waits."""
        return (cls, method) in self.waiting or any(self.is_waiting(base, method) for base in self.bases.get(cls, []))


def _name_of(node: ast.expr) -> Optional[str]:
    node = node.value if isinstance(node, ast.Subscript) else node
    return node.id if isinstance(node, ast.Name) else None


def methods_of(tree: ast.Module) -> List[Method]:
    """Every method of the module's classes."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return [(cls.name, node) for cls in classes for node in cls.body if isinstance(node, ast.FunctionDef)]


def is_generator(method: ast.FunctionDef) -> bool:
    """Whether it yields."""
    return any(isinstance(node, ast.Yield) for node in ast.walk(method))


def edits(source: str, classes: Classes) -> Iterator[Edit]:
    """Where `async` and `await` go, and which methods vanish."""
    lines = source.splitlines(keepends=True)
    starts = [sum(map(len, lines[:count])) for count in range(len(lines) + 1)]
    for cls, method in methods_of(ast.parse(source)):
        if method.name in LEFT_OUT:
            first = min([method.lineno, *(each.lineno for each in method.decorator_list)]) - 1
            end = method.end_lineno or method.lineno
            # With the blank line after it; there is none between overloads.
            end += end < len(lines) and not lines[end].strip()
            yield Edit(starts[first], starts[end], "")
            continue
        calls = list(classes.calls(cls, method))
        if calls or (cls, method.name) in classes.waiting or is_overload_of_waiting(classes, cls, method):
            start = starts[method.lineno - 1] + method.col_offset
            yield Edit(start, start, "async ")
        for call in calls:
            start = starts[call.lineno - 1] + call.col_offset
            yield Edit(start, start, "await ")


def is_overload_of_waiting(classes: Classes, cls: str, method: ast.FunctionDef) -> bool:
    """Whether it overrides, or says the type of, a method that waits."""
    return not is_generator(method) and classes.is_waiting(cls, method.name)


def convert(source: str, name: str, classes: Classes) -> str:
    """The twin of a module."""
    for edit in sorted(set(edits(source, classes)), reverse=True):
        source = source[: edit.start] + edit.text + source[edit.end :]
    source = ORIGIN.sub(f"Made from kvstore/{name} by scripts/generate_aio.py: change that one.", source)
    for old, new in PHRASES.items():
        source = source.replace(old, new)
    source = IMPORT.sub(r"from kvstore.aio.\1 import", source)
    source = re.sub(r"\b(" + "|".join(NAMES) + r")\b", lambda match: NAMES[match.group()], source)
    return source.rstrip() + "\n"


def main() -> int:
    """Write the files, or compare them."""
    is_check = sys.argv[1:] == ["--check"]
    differing = 0
    sources = {name: (PACKAGE / name).read_text("utf-8") for name in FILES}
    classes = Classes(sources)
    for name, source in sources.items():
        twin = PACKAGE / "aio" / name
        text = convert(source, name, classes)
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
