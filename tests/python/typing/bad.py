"""Each line with a mark must fail `mypy --strict`: an unused mark is an error, too."""

import kvstore as kv
from kvstore.testing import LocalCluster

db = kv.Client("127.0.0.1:7001", codec=kv.TEXT)
db.put("k", 1)  # type: ignore[arg-type]
db.put(1, "v")  # type: ignore[arg-type]
db.get("k", read="newest")  # type: ignore[call-overload]
db.get("k", None, None)  # type: ignore[call-overload]
kv.Client("127.0.0.1:7001", timout=1)  # type: ignore[call-overload]
kv.Retry(writes="sometimes")  # type: ignore[arg-type]
kv.Client("127.0.0.1:7001", retry=3)  # type: ignore[call-overload]
kv.Node(7001, clustr="x")  # type: ignore[call-arg]
kv.Node(7001).start(wait="forever")  # type: ignore[arg-type]
db.put("k", "v", lease=1)  # type: ignore[arg-type]
db.create_keyspace("jobs", consistency="weak")  # type: ignore[arg-type]
db.transact(lambda txn: txn.put("k", 1))  # type: ignore[arg-type]
db.batch().put("k", 1)  # type: ignore[arg-type]
db.map("p/")[b"k"]  # type: ignore[index]
db.map(b"p/")[b"k"] = 1  # type: ignore[assignment]
db.map(1)  # type: ignore[call-overload]
len(db)  # type: ignore[arg-type]
for _ in db:  # type: ignore[misc]
    pass
LocalCluster(3, clustr="x")  # type: ignore[call-arg]
LocalCluster(isolation="thread")  # type: ignore[arg-type]
