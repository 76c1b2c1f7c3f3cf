"""Must pass `mypy --strict`: what users write, and the types they get."""

from __future__ import annotations

import datetime as dt
from typing import Any, Dict, List, Optional, Union

from typing_extensions import assert_type

import kvstore as kv

db = kv.Client("127.0.0.1:7001", timeout=None, read="local")
assert_type(db, kv.Client[Any])
assert_type(db.put("k", object(), ttl=dt.timedelta(seconds=1)), int)
assert_type("k" in db, bool)

texts = kv.Client("127.0.0.1:7001", codec=kv.TEXT)
assert_type(texts, kv.Client[str])
assert_type(texts.get("k"), Optional[str])
assert_type(texts.get("k", 0), Union[str, int])
assert_type(texts["k"], str)
assert_type(texts.get_many(["k", b"l"]), Dict[str, str])
assert_type([entry.value for entry in texts.scan("p:")], List[str])
assert_type(list(texts.keys()), List[str])
assert_type(list(texts.conflicts(since=dt.datetime.now(dt.timezone.utc))), List[kv.Conflict[str]])
assert_type([texts.restore(conflict) for conflict in texts.conflicts("p:")], List[int])

with kv.Node(7001, ["h:1", 7002, ("h", 3)], cluster="demo") as node:
    assert_type(node.start(wait="ready"), kv.Node)
    assert_type(node.get("k"), Any)
    assert_type(node.status(), kv.NodeStatus)
    assert_type(node.join(1.5), bool)


async def main() -> None:
    async with kv.AsyncClient("127.0.0.1:7001", codec=kv.BYTES) as store:
        assert_type(await store.get("k"), Optional[bytes])
        assert_type(await store.delete("k"), bool)
        assert_type([entry.value async for entry in store.scan()], List[bytes])
        assert_type([conflict.lost async for conflict in store.conflicts()], List[Optional[kv.Entry[bytes]]])


def takes_any_store(store: kv.Store[Any]) -> int:
    return store.count()


takes_any_store(db)
takes_any_store(node)
