"""What a client is told about other nodes and second questions."""

from __future__ import annotations

import datetime as dt
import pickle
from typing import Any

import pytest

import kvstore
from kvstore import Client, InvalidArgumentError
from kvstore._options import parse_target


@pytest.mark.parametrize("hedge", [0, -1, True, "soon", float("nan"), float("inf"), 3601, dt.timedelta(0)])
def test_what_is_no_time_for_a_second_question_is_refused(hedge: Any) -> None:
    for cls in (Client, kvstore.AsyncClient):
        with pytest.raises(InvalidArgumentError, match=r"^hedge: "):
            cls("h:1", hedge=hedge)


@pytest.mark.parametrize("discover", [None, 1, "yes"])
def test_what_is_neither_true_nor_false_is_refused(discover: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^discover: "):
        Client("h:1", discover=discover)


def test_a_url_may_say_it() -> None:
    assert parse_target("kv://h:1?discover=false&hedge=0.05").options == {"discover": False, "hedge": 0.05}
    assert parse_target("kv://h:1?discover=True&hedge=none").options == {"discover": True, "hedge": None}
    for query, name in (("discover=maybe", "discover"), ("hedge=soon", "hedge"), ("hedge=0", "hedge")):
        with pytest.raises(InvalidArgumentError, match=rf"^target: {name}: "):
            Client(f"kv://h:1?{query}")


def test_a_client_that_may_ask_twice_answers_as_any_other(node: kvstore.Node) -> None:
    hedge = dt.timedelta(milliseconds=1)
    with Client(node.address, hedge=hedge, discover=False) as client:
        with pickle.loads(pickle.dumps(client)) as copy:
            copy.put_many({f"k/{number}": number for number in range(200)})
        assert client.get_many([f"k/{number}" for number in range(200)]) == {
            f"k/{number}": number for number in range(200)
        }
        assert client.count("k/") == len(list(client.scan("k/"))) == 200
        assert client.ping() > 0
        strong = client.create_keyspace("jobs", consistency="strong")
        assert strong.incr("n") == 1
        assert strong.get("n") == 1
