"""Must pass `mypy --strict`: what users write, and the types they get."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple, Union

from typing_extensions import assert_type

import kvstore as kv
from kvstore.testing import LocalCluster

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
assert_type(texts.map("p/"), kv.Map[str, str])
assert_type(texts.map(), kv.Map[str, str])
assert_type(list(texts.map(b"p/").items()), List[Tuple[bytes, str]])
assert_type(texts.map().pop("k", None), Optional[str])
assert_type([texts.restore(conflict) for conflict in texts.conflicts("p:")], List[int])


@dataclass
class User:
    name: str


users = texts.with_options(codec=kv.dataclass_codec(User))
assert_type(users, kv.Store[User])
assert_type(users["ada"].name, str)
assert_type(kv.Client("h:1", codec=kv.PICKLE)["k"], Any)
patient = kv.Client("h:1", retry=kv.Retry(attempts=3, writes="never"), name="web")
impatient: kv.ClientOptions = {"retry": None, "timeout": 1.5}
assert_type(kv.Client("h:1", **impatient), kv.Client[Any])
key: kv.Key = b"k"
read: kv.Read = "local"
timeout: kv.Timeout = None

jobs = texts.create_keyspace("jobs", consistency="strong", exist_ok=True)
assert_type(jobs.get("k"), Optional[str])
assert_type(jobs.add("k", "v"), bool)
assert_type(jobs.incr("n", ttl=1), int)
assert_type(jobs.update("k", lambda old: (old or "") + "x"), str)
assert_type(jobs.transact(lambda txn: txn.get("k")), Optional[str])
assert_type(jobs.pop("k"), str)
assert_type(jobs.pop("k", 0), Union[str, int])
assert_type(jobs.keyspaces(), List[kv.KeyspaceInfo])
with jobs.batch(atomic=True) as batch:
    assert_type(batch.get("k").result(), Optional[str])
    assert_type(batch.put("k", "v").result(), int)
with jobs.lock("l") as lock, jobs.lease(10) as lease:
    assert_type(lock.fencing_token, int)
    assert_type(lock.scope().put("k", "v", lease=lease), int)
    assert_type(lock.scope(db)["k"], Any)
assert_type(jobs.election("e").leader(), Optional[kv.Entry[bytes]])

with kv.Node(7001, ["h:1", 7002, ("h", 3)], cluster="demo") as node:
    assert_type(node.start(wait="ready"), kv.Node)
    assert_type(node.get("k"), Any)
    assert_type(node.status(), kv.NodeStatus)
    assert_type(node.join(1.5), bool)


async def read_in(txn: kv.AsyncTxn[bytes]) -> Optional[bytes]:
    return await txn.get("k")


with LocalCluster(3, isolation="process", seed=1, cluster="mine") as cluster:
    assert_type(cluster.start(timeout=None), LocalCluster)
    assert_type(cluster.client(0, timeout=1), kv.Client[Any])
    assert_type(cluster.async_client(), kv.AsyncClient[Any])
    assert_type(cluster.node(0), kv.Node)
    assert_type(cluster.addresses, List[str])
    cluster.kill(cluster.leader)
    cluster.partition([0], (1, 2))


async def main() -> None:
    async with kv.AsyncClient("127.0.0.1:7001", codec=kv.BYTES) as store:
        assert_type(await store.get("k"), Optional[bytes])
        assert_type(await store.delete("k"), bool)
        assert_type([entry.value async for entry in store.scan()], List[bytes])
        strong = store.keyspace("jobs")
        assert_type(await strong.transact(read_in), Optional[bytes])
        async with strong.lock("l") as held, strong.batch() as batch, strong.lease(10) as leased:
            assert_type(await held.scope().put("k", b"v", lease=leased), int)
            assert_type(batch.delete("k").result(), bool)
        assert_type([conflict.lost async for conflict in store.conflicts()], List[Optional[kv.Entry[bytes]]])


def takes_any_store(store: kv.Store[Any]) -> int:
    return store.count()


takes_any_store(db)
takes_any_store(node)
