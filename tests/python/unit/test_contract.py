"""What the package promises to whoever imports it, against the contract in tests/python/typing/kvstore_api.pyi."""

from __future__ import annotations

import importlib
import inspect
import pathlib
import pkgutil
import re
from typing import Any, Dict, Iterator, List, Optional, Tuple

import api_model
import pytest
from api_model import Class, Member, Module

import kvstore

STUB = pathlib.Path(__file__).resolve().parents[1] / "typing" / "kvstore_api.pyi"
PACKAGE = pathlib.Path(kvstore.__file__).parent


# Every difference between the contract and the package, below its reason. A line here that is no difference any more
# fails the test, and so does a difference that is not here.
def more(owner: str, names: str) -> Tuple[str, ...]:
    """Lines about what is there beyond the contract."""
    return tuple(f"{owner}{name}: more than the contract says" for name in names.split())


DIFFERENT: Dict[str, Tuple[str, ...]] = {
    "an id is random, and kept in the data_dir: two nodes cannot have the same by mistake": (
        "NodeSettings.node_id: missing",
    ),
    "nodes join by their peers, so add() refuses, without a question to any node": (
        "AsyncCluster.add: another kind of function",
    ),
    "a member that is down has no status to tell: members() says what the asked node knows of each": (
        "Cluster.members: returns Tuple[MemberStatus, ...] instead of List[NodeStatus]",
        "AsyncCluster.members: returns Tuple[MemberStatus, ...] instead of List[NodeStatus]",
    ),
    "it is a class that Client, Node and their views derive from, which isinstance() knows; it is used the same": (
        "Store: is no Protocol",
        "AsyncStore: is no Protocol",
    ),
    "replace() takes port and peers, too": (
        "NodeConfig.replace(settings): ** Unpack[_Replaced] instead of ** Unpack[NodeSettings]",
    ),
    "the contract lets settings grow with the engine": more(
        "NodeSettings.", "max_drift history_changes history_bytes history_age"
    ),
    "a config can be looked at": more(
        "NodeConfig.",
        "port peers host advertise cluster threads tls token insecure http log max_drift data_dir durability "
        "max_memory default_consistency history_changes history_bytes history_age",
    ),
    "a node can say what it was made with": more("Node.", "config"),
    "nodes may be reached by other addresses than they tell, and a slow read may be asked twice": more(
        "ClientOptions.", "discover hedge"
    ),
    "keys that are no UTF-8 are told exactly everywhere": (
        *more("Event.", "key_bytes"),
        *more("Conflict.", "key_bytes"),
    ),
    "questions about the contacted node": (
        *more("Store.", "metrics members snapshot status"),
        *more("Node.", "metrics(timeout) snapshot(timeout) status(digests) status(timeout)"),
        *more(
            "NodeStatus.",
            """
            cluster ready tombstones conflicts conflicts_dropped conflicts_inexact peers lag digests removed problems
            oldest_tombstone stable_lag held_back_by divergences repairs expired refused_writes memory max_memory
            state_bytes change_bytes storage group default_consistency
            """,
        ),
        *more("", "GroupMember GroupStatus MemberStatus PartitionDigest PeerStatus ReplicationLag StorageStatus"),
    ),
    "what a MutableMapping would do with a call for each key": more(
        "Map.", "clear get items pop popitem setdefault values"
    ),
    "a program that did not grant a lease can find it, and they can be looked at": (
        *more("Store.", "find_lease leases"),
        *more("Lease.", "info"),
        *more("", "LeaseInfo"),
    ),
    "writes that the store itself refuses after a loss, for elections as for locks": (
        *more("Lock.", "scope"),
        *more("Election.", "fencing_token on_lost scope"),
    ),
    "a transaction may need a version": more("Txn.", "entry"),
    "calls about members have deadlines, and one that is up can be removed": (
        *more("Cluster.", "members(timeout) move_leader(timeout) remove(force) remove(timeout)"),
        *more("AsyncCluster.", "members(timeout) move_leader(timeout) remove(force) remove(timeout)"),
    ),
    "for annotations of the functions that transact() runs": more("", "AsyncTxn"),
    "snapshots and directories are looked at without a node": more(
        "",
        "DirectoryReport SegmentReport SnapshotReport examine_data_dir restore_snapshot verify_snapshot",
    ),
}


def read_package() -> Dict[str, Module]:
    """The sources of the package by the name of the module; the native one by its stub."""
    files = [*PACKAGE.rglob("*.py"), PACKAGE / "_core.pyi"]
    return {_module_name(file): api_model.module_of(file.read_text("utf-8")) for file in files}


def _module_name(file: pathlib.Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


CONTRACT = api_model.module_of(STUB.read_text("utf-8"))
MODULES = read_package()


# -------------------------------------------------------------------------------------------------- the contract
def contract_of(name: str) -> Dict[str, Member]:
    """The members of a class with those it has from others."""
    cls = CONTRACT.classes[name]
    members: Dict[str, Member] = {}
    for base in reversed(cls.bases):
        if base in CONTRACT.classes:
            members.update(contract_of(base))
    if name == "Node":
        members = {each: api_model.substitute(member, "V", "Any") for each, member in members.items()}
    return {**members, **cls.members}


# What the contract gives by a rule: an asynchronous class has what its twin has; what waits has to be awaited.
GIVES_AT_ONCE = {
    "batch", "cluster", "conflicts", "election", "keys", "keyspace", "lease", "lock", "observe", "scan", "watch",
    "with_options",
}  # fmt: skip


def twin(name: str, member: Member) -> Member:
    """What becomes of a member in an asynchronous class."""
    if isinstance(member, str):
        return asynchronous(member)
    return [
        each._replace(
            is_async=name not in GIVES_AT_ONCE,
            returns=asynchronous(each.returns),
            parameters=tuple(
                parameter._replace(annotation=asynchronous(parameter.annotation)) for parameter in each.parameters
            ),
        )
        for each in member
    ]


def asynchronous(text: str) -> str:
    text = text.replace("Callable[[Txn[V]], R]", "Callable[[Txn[V]], Awaitable[R]]")
    return re.sub(r"\b(Store|Watch|Batch|Txn|Lease|Lock|Election|Cluster|Iterator)\b", r"Async\1", text)


def add_the_asynchronous_rest() -> None:
    found = re.search(r"by the same rule: (.+?)\(([^)]*)\)", STUB.read_text("utf-8"), re.DOTALL)
    assert found is not None
    store = CONTRACT.classes["AsyncStore"].members
    for name in found[1].replace("#", "").split():
        store[name] = twin(name, CONTRACT.classes["Store"].members[name])
    for cls in found[2].split(", "):
        blocking = CONTRACT.classes[cls[len("Async") :]]
        bases = tuple(asynchronous(base).replace("_Context", "_AsyncContext") for base in blocking.bases)
        members = {name: twin(name, member) for name, member in blocking.members.items()}
        CONTRACT.classes[cls] = blocking._replace(bases=bases, members=members)


add_the_asynchronous_rest()


# --------------------------------------------------------------------------------------------------- the package
def public(name: str) -> Any:
    """What a program gets under a name; the contract has what is for tests in a module of its own."""
    found = getattr(kvstore, name, None)
    if found is None and name == "LocalCluster" and "kvstore.testing" in MODULES:
        found = getattr(importlib.import_module("kvstore.testing"), name, None)
    return found


def classes_of(cls: type) -> List[Class]:
    """What the sources say of a class and those of our own that it is made of."""
    ours = [each for each in inspect.getmro(cls) if each.__module__.partition(".")[0] == "kvstore"]
    return [_native_or_own(each).classes[each.__name__] for each in ours]


def _native_or_own(cls: type) -> Module:
    # What is native and public says that it is of the package itself.
    return MODULES["kvstore._core" if cls.__module__ == "kvstore" else cls.__module__]


def members_of(cls: type) -> Dict[str, Member]:
    """The members of a class with those it has from others; how it is made counts as __init__."""
    members: Dict[str, Member] = {}
    for each in reversed(classes_of(cls)):
        members.update(each.members)
    making = members.get("__new__")
    if isinstance(making, list):
        members.setdefault("__init__", [each._replace(returns="None") for each in making])
    if cls is kvstore.Node:
        members = {name: api_model.substitute(member, "V", "Any") for name, member in members.items()}
    return members


def class_differences(name: str) -> Iterator[str]:
    wanted, cls = CONTRACT.classes[name], public(name)
    if cls is None:
        yield f"{name}: missing"
        return
    yield from frame_differences(name, wanted, cls)
    members, contract, inherited = members_of(cls), contract_of(name), inherited_of(name)
    for member, want in contract.items():
        if member in wanted.members or member not in inherited or inherited[member] != members.get(member):
            yield from api_model.differences(f"{name}.{member}", want, members.get(member))
    # The asynchronous ones are compared with their twins, in test_async.py.
    if not name.startswith("Async"):
        for member in members:
            if not member.startswith("_") and member not in contract and member not in inherited:
                yield f"{name}.{member}: more than the contract says"


def frame_differences(name: str, wanted: Class, cls: type) -> Iterator[str]:
    """What is not about single members: bases, the order of fields, the values of attributes."""
    sources = classes_of(cls)
    bases = {each.__name__ for each in inspect.getmro(cls)}.union(*(each.bases for each in sources))
    for base in wanted.bases:
        if not base.startswith("_") and base not in bases:
            yield f"{name}: is no {base}"
    if wanted.is_final != sources[0].is_final:
        yield f"{name}: {'not final' if wanted.is_final else 'final'}"
    if "NamedTuple" in wanted.bases and list(sources[0].members)[: len(wanted.members)] != list(wanted.members):
        yield f"{name}: another order of fields"
    for member, default in wanted.defaults.items():
        have = [each.defaults[member] for each in sources if member in each.defaults]
        if not have or default not in ("...", have[0]):
            yield f"{name}.{member}: {have[0] if have else 'nothing'} instead of {default}"


def inherited_of(name: str) -> Dict[str, Optional[Member]]:
    """What a class of the package has from public ones, which are compared by themselves."""
    members: Dict[str, Optional[Member]] = {}
    for base in CONTRACT.classes[name].bases:
        if base in CONTRACT.classes and not base.startswith("_"):
            members.update(dict.fromkeys(contract_of(base)))
            members.update(members_of(public(base)))
    if name == "Node":
        members = {each: member and api_model.substitute(member, "V", "Any") for each, member in members.items()}
    return members


def constant_differences(name: str) -> Iterator[str]:
    annotation, value = CONTRACT.constants[name]
    found = [module.constants[name] for key, module in MODULES.items() if name in module.constants]
    if public(name) is None:
        yield f"{name}: missing"
    elif not found:
        yield f"{name}: is no constant"
    elif annotation == "TypeAlias":
        if found[0][1] != value:
            yield f"{name}: {found[0][1]} instead of {value}"
    elif found[0][0] != annotation:
        yield f"{name}: {found[0][0]} instead of {annotation}"


def function_differences(name: str) -> Iterator[str]:
    found = public(name)
    have: Optional[Member] = None if found is None else MODULES[found.__module__].functions[name]
    yield from api_model.differences(name, list(CONTRACT.functions[name]), have)


def all_differences() -> Iterator[str]:
    for name in CONTRACT.classes:
        if not name.startswith("_"):
            yield from class_differences(name)
    for name in CONTRACT.functions:
        yield from function_differences(name)
    for name, (annotation, value) in CONTRACT.constants.items():
        if not name.startswith("_") and (annotation == "TypeAlias" or not value):
            yield from constant_differences(name)
    known = {*CONTRACT.classes, *CONTRACT.functions, *CONTRACT.constants}
    for name in kvstore.__all__:
        if name not in known:
            yield f"{name}: more than the contract says"


def test_the_package_is_what_the_contract_says_but_for_what_is_listed() -> None:
    found = list(all_differences())
    listed = [line for lines in DIFFERENT.values() for line in lines]
    assert sorted(found) == sorted(listed)


def test_a_difference_of_every_kind_is_found() -> None:
    """The comparison itself, by a contract that says something else."""
    source = "class A:\n def f(self, a: int, *, b: str = 'x') -> int: ...\n x: Optional[int]"
    wanted = api_model.module_of(source).classes["A"].members
    changes = {
        "a: int": ("a: str", "A.f(a): str instead of int"),
        "*, ": ("", "A.f(b): str = 'x' instead of keyword str = 'x'"),
        "'x'": ("'y'", "A.f(b): keyword str = 'y' instead of keyword str = 'x'"),
        "-> int": ("-> bool", "A.f: returns bool instead of int"),
        "a: int, ": ("a: int, c: int, ", "A.f(c): more than the contract says"),
        "a: int, *, b: str = 'x'": ("*, b: str = 'x'", "A.f(a): missing"),
        " def f": (" async def f", "A.f: another kind of function"),
        "Optional[int]": ("int", "A.x: int instead of Optional[int]"),
        "x: Optional[int]": ("y: int", "A.x: missing"),
    }
    for old, (new, line) in changes.items():
        found = api_model.module_of(source.replace(old, new)).classes["A"].members
        lines: List[str] = []
        for name, want in wanted.items():
            lines += api_model.differences(f"A.{name}", want, found.get(name))
        assert lines == [line]


KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "",
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
    inspect.Parameter.VAR_KEYWORD: "**",
}
CLASSES = [name for name in CONTRACT.classes if not name.startswith("_") and public(name) is not None]


@pytest.mark.parametrize("name", CLASSES)
def test_what_the_sources_say_is_what_runs(name: str) -> None:
    cls = public(name)
    for method, functions in members_of(cls).items():
        if method.startswith("_") or not isinstance(functions, list) or len(functions) > 1:
            continue
        parameters = list(inspect.signature(getattr(cls, method)).parameters.values())
        bare = [each for each in parameters if each.name not in ("self", "cls")]
        found = [(each.name, KINDS[each.kind], default_of(each)) for each in bare]
        assert found == [(each.name, each.kind, each.default) for each in functions[0].parameters], method


def default_of(parameter: inspect.Parameter) -> Optional[str]:
    if parameter.default is parameter.empty:
        return None
    return "..." if parameter.default is ... else repr(parameter.default)


def test_constructors_take_target_and_port_first() -> None:
    assert str(inspect.signature(kvstore.Node)).startswith("(port: 'int' = 0, peers: 'Peers' = None, *, config")
    # Of the function: on 3.8 typing.Generic hides what a class takes.
    assert list(inspect.signature(kvstore.Client.__init__).parameters)[1:4] == ["target", "keyspace", "codec"]
    assert list(inspect.signature(kvstore.NodeConfig).parameters) == ["port", "peers", "settings"]


def test_every_public_name_is_there_and_has_a_text() -> None:
    assert kvstore.__version__.count(".") == 2
    for name in kvstore.__all__:
        # What stands for a type has its text in the source.
        is_alias = name in CONTRACT.constants and CONTRACT.constants[name][0] == "TypeAlias"
        assert is_alias or getattr(kvstore, name).__doc__, name


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_method_has_a_text(name: str) -> None:
    cls = public(name)
    for method in members_of(cls):
        if not method.startswith("_") and callable(getattr(cls, method, None)):
            assert inspect.getdoc(getattr(cls, method)), method


def test_every_module_can_be_imported() -> None:
    for module in pkgutil.walk_packages(kvstore.__path__, "kvstore."):
        # `python -m kvstore` runs when it is imported.
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def test_a_wheel_has_no_mistakes_to_switch_on() -> None:
    """With the Cargo feature `faults` it would have: that is for `make kills-mutant` alone."""
    native = kvstore._core.__file__
    assert b"MUTANT_OF_KVSTORE" not in pathlib.Path(native).read_bytes()
