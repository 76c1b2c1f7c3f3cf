"""lease: what hangs on one vanishes with it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final, Mapping, Optional

import click

from .exits import CONFLICT, Failure
from .output import Column, human_seconds, print_record, print_records, text_of
from .params import DURATION, VERSION
from .settings import Settings, verb

if TYPE_CHECKING:
    import kvstore

    from .values import Stored

_LOOK_SECONDS = 0.1


def leases(client: kvstore.Client[Stored]) -> kvstore.Store[Stored]:
    """Where to ask about leases: they belong to no keyspace, but to the group, and so does this name."""
    return client.keyspace("system")


@click.group()
def lease() -> None:
    """Grant, keep, show, list and revoke leases: `put --lease ID` makes a key vanish with one."""


@verb()
@click.argument("ttl", type=DURATION)
def grant(settings: Settings, ttl: float) -> None:
    """Grant a lease that ends after TTL, such as 30s, and print its id. Nobody keeps it alive: see keep."""
    with settings.client() as client:
        granted = leases(client).lease(ttl, keep_alive=False)
    print_record(settings, {"lease": str(granted.id), "ttl": ttl}, str(granted.id))


@verb()
@click.argument("lease_id", metavar="ID", type=VERSION)
@click.option("--for", "seconds", type=DURATION, help="End after so long.  [default: never]")
@click.option("--once", is_flag=True, help="Let it last for its whole time again, and end at once.")
def keep(settings: Settings, lease_id: int, *, seconds: Optional[float], once: bool) -> None:
    """Keep a lease alive until Ctrl-C; exit 4 when it ends all the same. Revokes nothing."""
    with settings.client() as client:
        if once:
            ttl = leases(client).find_lease(lease_id).refresh()
            print_record(settings, {"lease": str(lease_id), "ttl": round(ttl, 3)}, human_seconds(ttl))
            return
        kept, pause = leases(client).find_lease(lease_id, keep_alive=True), threading.Event()
        ends = None if seconds is None else time.monotonic() + seconds
        while kept.alive:
            if ends is not None and time.monotonic() >= ends:
                return
            pause.wait(_LOOK_SECONDS)
    msg = f"lease {lease_id} has ended"
    raise Failure(msg, CONFLICT)


@verb()
@click.argument("lease_id", metavar="ID", type=VERSION)
def revoke(settings: Settings, lease_id: int) -> None:
    """End a lease and all that hangs on it; exit 4 when there is none."""
    with settings.client() as client:
        leases(client).find_lease(lease_id).revoke()
    if not settings.quiet:
        print_record(settings, {"lease": str(lease_id), "revoked": True}, f"revoked {lease_id}")


@verb()
@click.argument("lease_id", metavar="ID", type=VERSION)
def show(settings: Settings, lease_id: int) -> None:
    """Print what is left of a lease, and how much hangs on it; exit 4 when there is none."""
    with settings.client() as client:
        info = leases(client).find_lease(lease_id).info()
    left, whole = human_seconds(info.remaining), human_seconds(info.ttl)
    print_record(settings, _record(info), f"{left} of {whole} left, {info.places:,} keys and locks")


@verb("list")
def list_(settings: Settings) -> None:
    """Print the leases that have not ended, the oldest first."""
    with settings.client() as client:
        print_records(settings, "leases", _COLUMNS, map(_record, leases(client).leases()))


def _record(info: kvstore.LeaseInfo) -> Mapping[str, Any]:
    return {"lease": str(info.id), "ttl": info.ttl, "remaining": round(info.remaining, 3), "places": info.places}


_COLUMNS: Final = [
    Column("LEASE", text_of("lease")),
    Column("LEFT", lambda record: human_seconds(record["remaining"]), right=True),
    Column("TTL", lambda record: human_seconds(record["ttl"]), right=True),
    Column("KEYS AND LOCKS", lambda record: f"{record['places']:,}", right=True),
]

for _each in (grant, keep, revoke, show, list_):
    lease.add_command(_each)
lease.add_command(keep, "keep-alive")
