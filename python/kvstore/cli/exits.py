"""Exit codes, and how an error becomes one line on stderr and one of them."""

from __future__ import annotations

from typing import Final

import click

import kvstore

OK: Final = 0
NOT_FOUND: Final = 1
CORRUPT: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 3
CONFLICT: Final = 4
DENIED: Final = 5
UNSUPPORTED: Final = 6
INTERNAL: Final = 70
DEADLINE: Final = 124
NOT_RUN: Final = 127
"""A command that was to be run cannot be, as in a shell."""
SIGNALLED: Final = 128
"""Beyond it: the number of the signal that ended a command that was run, as in a shell."""
INTERRUPTED: Final = 130

_BY_KIND: Final = {
    "InvalidArgument": USAGE,
    "Unsupported": UNSUPPORTED,
    "Conflict": CONFLICT,
    "Unavailable": UNAVAILABLE,
    "Timeout": DEADLINE,
    "Denied": DENIED,
    "Closed": UNAVAILABLE,
    "Corrupt": CORRUPT,
    "Internal": INTERNAL,
}


class Failure(click.ClickException):
    """A command that could not do its work: one line for people and the exit code that says what kind it is."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code


class MissingKeyError(Failure):
    """A key that was asked for is not there."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no such key: {key}", NOT_FOUND)


def code_of(error: kvstore.KVError) -> int:
    """The exit code for an error of the store."""
    if isinstance(error, kvstore.KeyNotFoundError):
        return NOT_FOUND
    return _BY_KIND.get(error.kind, INTERNAL)


def report(message: str) -> None:
    """Print one line on stderr."""
    text = " ".join(message.split())
    click.echo(f"kvstore: {text}", err=True)
