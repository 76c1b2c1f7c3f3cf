"""Codecs for classes of the user: dataclasses, pydantic models, and whatever pickle takes."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import pickle
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any, Dict, List, Literal, Optional, Tuple, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kvstore
from kvstore import JSON, PICKLE, CodecError, InvalidArgumentError, dataclass_codec, pydantic_codec


@dataclass
class Point:
    x: float
    y: float = 0.0


@dataclass(frozen=True)
class User:
    name: str
    age: Optional[int] = None
    tags: List[str] = field(default_factory=list)
    home: Optional[Point] = None
    path: Tuple[Point, ...] = ()
    pair: Tuple[int, str] = (0, "")
    scores: Dict[str, float] = field(default_factory=dict)
    level: Literal["low", "high", 3] = "low"
    mixed: Union[int, str, List[bool], None] = None
    number: Union[float, int] = 0
    friend: Optional[User] = None
    extra: Any = None
    shouted: str = field(init=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "shouted", self.name.upper())


points = st.builds(Point, x=st.floats(allow_nan=False, allow_infinity=False), y=st.integers(-9, 9).map(float))
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
plain = st.none() | st.booleans() | st.integers() | text
users = st.builds(
    User,
    name=text,
    age=st.none() | st.integers(),
    tags=st.lists(text, max_size=3),
    home=st.none() | points,
    path=st.lists(points, max_size=3).map(tuple),
    pair=st.tuples(st.integers(), text),
    scores=st.dictionaries(text, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    level=st.sampled_from(["low", "high", 3]),
    mixed=st.integers() | text | st.none() | st.lists(st.booleans(), max_size=3),
    number=st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    friend=st.none() | st.builds(User, name=text),
    extra=st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3)),
)
USERS = dataclass_codec(User)


@given(users)
def test_a_dataclass_comes_back_as_it_went_in(user: User) -> None:
    payload, flags = USERS.encode(user)
    back = USERS.decode(payload, flags)
    assert back == user
    assert repr(back) == repr(user)
    # Any JSON reader reads it.
    assert JSON.decode(payload, flags)["name"] == user.name


@pytest.mark.parametrize(
    "value",
    [
        {"name": "Ada"},
        Point(1.0),
        User("Ada", age=1.0),  # type: ignore[arg-type]
        User("Ada", age=True),
        User("Ada", age="36"),  # type: ignore[arg-type]
        User("Ada", tags=("a",)),  # type: ignore[arg-type]
        User("Ada", tags=[1]),  # type: ignore[list-item]
        User("Ada", path=[Point(1.0)]),  # type: ignore[arg-type]
        User("Ada", pair=(1, "a", 2)),  # type: ignore[arg-type]
        User("Ada", scores={1: 2.0}),  # type: ignore[dict-item]
        User("Ada", scores={"a": float("nan")}),
        User("Ada", level="middle"),  # type: ignore[arg-type]
        User("Ada", mixed=1.5),  # type: ignore[arg-type]
        User("Ada", home=Point("here")),  # type: ignore[arg-type]
        User("Ada", extra=(1, 2)),
        User("Ada", extra={1: 2}),
        User("Ada", extra=dt.date(2026, 1, 1)),
    ],
    ids=repr,
)
def test_what_would_not_come_back_is_refused(value: Any) -> None:
    with pytest.raises(CodecError, match=r"^value: "):
        USERS.encode(value)


def test_a_value_inside_itself_is_refused() -> None:
    loop: List[Any] = []
    loop.append(loop)
    with pytest.raises(CodecError):
        USERS.encode(User("Ada", extra=loop))


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"[]", "a list is no User"),
        (b'{"age": 1}', "name"),
        (b'{"name": "Ada", "agee": 1}', "User has no field 'agee'"),
        (b'{"name": "Ada", "age": "1"}', "age: "),
        (b'{"name": "Ada", "home": {"x": 1, "z": 2}}', "home: Point has no field 'z'"),
        (b'{"name": "Ada", "shouted": "ADA"}', "shouted"),
        (b'{"name": "Ada"', "Expecting"),
        (b"\xff", "utf-8"),
    ],
)
def test_what_does_not_fit_keeps_its_bytes_in_the_error(payload: bytes, why: str) -> None:
    with pytest.raises(CodecError, match=why) as caught:
        USERS.decode(payload, 5)
    assert caught.value.payload == payload
    assert str(caught.value).startswith("stored value: dataclass_codec(User)")
    with pytest.raises(CodecError, match="flags 7"):
        USERS.decode(payload, 7)


def test_a_field_that_is_new_gets_its_default() -> None:
    assert USERS.decode(b'{"name":"Ada"}', 5) == User("Ada")
    # An int is a float to those who write JSON by hand.
    assert dataclass_codec(Point).decode(b'{"x":1}', 0) == Point(1.0)


class Color(enum.Enum):
    RED = 1


def one_field(hint: Any) -> Any:
    return dataclasses.make_dataclass("Made", [("f", hint)])


@pytest.mark.parametrize(
    "hint",
    [
        dt.datetime,
        bytes,
        Color,
        set,
        Dict[int, str],
        tuple,
        Union[List[int], Tuple[int, ...]],
        Union[Point, User],
        Union[Point, Dict[str, float]],
        Literal[b"x"],
        "Nowhere",
        dataclasses.InitVar[int],
    ],
    ids=repr,
)
def test_a_field_that_json_cannot_bring_back_is_refused_before_anything_is_stored(hint: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^dataclass_codec: "):
        dataclass_codec(one_field(hint))


@pytest.mark.parametrize("cls", [int, Point(1.0), None])
def test_only_a_dataclass_will_do(cls: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="is no dataclass"):
        dataclass_codec(cls)


def test_records_are_kept_by_stores(store: Any) -> None:
    users = store.with_options(codec=USERS)
    users["ada"] = User("Ada", 36, home=Point(1.0, 2.0))
    assert users["ada"].home == Point(1.0, 2.0)
    assert [entry.value.name for entry in users.scan()] == ["Ada"]
    # The command line and others see JSON.
    assert store["ada"]["home"] == {"x": 1.0, "y": 2.0}
    store["bob"] = {"nickname": "Bob"}
    with pytest.raises(CodecError, match="nickname"):
        users.get("bob")


# ------------------------------------------------------------------------------------------------------ pydantic
def test_a_pydantic_model_is_validated_on_its_way_back(store: Any) -> None:
    pydantic = pytest.importorskip("pydantic", minversion="2")

    class Job(pydantic.BaseModel):  # type: ignore[misc, name-defined]
        id: int
        due: dt.datetime
        kind: str = pydantic.Field("nightly", alias="type")

    globals()["Job"] = Job
    jobs = store.with_options(codec=pydantic_codec(Job))
    job = Job(id=1, due=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc), type="weekly")
    jobs["j"] = job
    assert jobs["j"] == job
    assert store["j"] == {"id": 1, "due": "2026-01-01T00:00:00Z", "type": "weekly"}
    for value in ({"id": 1}, None, Job.model_construct(id="x", due=None)):
        with pytest.raises(CodecError, match=r"^value: "):
            jobs.put("j", value)
    store["j"] = {"id": "one"}
    with pytest.raises(CodecError, match=r"pydantic_codec\(Job\)") as caught:
        jobs.get("j")
    assert caught.value.payload == b'{"id":"one"}'


def test_pydantic_is_not_imported_before_it_is_asked_for() -> None:
    program = "import sys, kvstore, kvstore.codecs; assert 'pydantic' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


# -------------------------------------------------------------------------------------------------------- pickle
def test_pickle_takes_what_others_do_not(store: Any) -> None:
    view = store.with_options(codec=PICKLE)
    view["k"] = {(1, 2): {Color.RED}, "when": dt.date(2026, 1, 1)}
    assert view["k"] == {(1, 2): {Color.RED}, "when": dt.date(2026, 1, 1)}
    assert view.entry("k").flags == 7
    # Nobody runs it who has not asked for it.
    with pytest.raises(CodecError, match="flags 7"):
        store.get("k")
    with pytest.raises(CodecError, match=r"^value: it cannot be pickled"):
        view.put("k", lambda: None)
    store["text"] = "plain"
    with pytest.raises(CodecError, match="flags 1"):
        view.get("text")
    with pytest.raises(CodecError, match="cannot be unpickled") as caught:
        PICKLE.decode(b"\x80\x05nonsense", 7)
    assert caught.value.payload == b"\x80\x05nonsense"


@pytest.mark.parametrize("codec", [PICKLE, USERS], ids=repr)
def test_a_client_with_such_a_codec_can_be_pickled(node: kvstore.Node, codec: Any) -> None:
    with kvstore.Client(node.address, codec=codec) as client:
        client["k"] = User("Ada")
        with pickle.loads(pickle.dumps(client)) as copy:
            assert copy["k"] == User("Ada")
