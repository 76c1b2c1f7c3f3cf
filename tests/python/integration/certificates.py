"""Certificates that are made when a test runs."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Optional

import trustme

from kvstore import TLS

if TYPE_CHECKING:
    from pathlib import Path

HOST = "127.0.0.1"


class Authority:
    """An authority whose files are in a directory."""

    def __init__(self, directory: Path, name: str = "ours") -> None:
        self._directory = directory
        self._name = name
        self._authority = trustme.CA()
        self.ca = str(directory / f"{name}-ca.pem")
        self._authority.cert_pem.write_to_path(self.ca)

    def issue(self, name: str, host: str = HOST, *, expired: bool = False) -> TLS:
        """A certificate for a host, with its key."""
        ends: Optional[dt.datetime] = dt.datetime(2001, 1, 1, tzinfo=dt.timezone.utc) if expired else None
        leaf = self._authority.issue_cert(host, not_after=ends)
        cert, key = (str(self._directory / f"{self._name}-{name}-{part}.pem") for part in ("cert", "key"))
        leaf.private_key_pem.write_to_path(key)
        for place, pem in enumerate(leaf.cert_chain_pems):
            pem.write_to_path(cert, append=place > 0)
        return TLS(ca=self.ca, cert=cert, key=key)

    @property
    def trust(self) -> TLS:
        """Believes this authority, and presents nothing."""
        return TLS(ca=self.ca)
