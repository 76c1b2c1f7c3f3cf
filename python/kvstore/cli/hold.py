"""lock, elect: run a command while something is held, and end it when that is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Final, Iterator, List, Optional, Tuple

import click

import kvstore

from .exits import CONFLICT, DEADLINE, NOT_RUN, SIGNALLED, Failure
from .output import report_note
from .params import DURATION
from .settings import Settings, Verb, verb

if TYPE_CHECKING:
    from typing import Union

    Claim = Union[kvstore.Lock, kvstore.Election]

_LOOK_SECONDS: Final = 0.05
_GRACE_SECONDS: Final = 5.0
"""What a command may take to end after SIGTERM, before it is killed."""

_FORWARDED: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class _WithValue(Verb):
    """Leaves the `--` before CMD in the arguments, which click would take away: what stands before it matters."""

    def parse_args(self, ctx: click.Context, args: List[str]) -> List[str]:
        """Double the first one, of which click takes one."""
        if "--" in args:
            first = args.index("--")
            args = [*args[:first], "--", *args[first:]]
        return super().parse_args(ctx, args)


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What both commands take."""
    for add in (
        click.argument("name"),
        click.option("--wait", type=DURATION, help="Wait so long for it; exit 124 then.  [default: for ever]"),
        click.option("--no-wait", is_flag=True, help="Do not wait at all; exit 4 when another has it."),
        click.option(
            "--ttl", type=DURATION, default=10.0, help="How long others wait when this machine dies.  [default: 10s]"
        ),
    ):
        function = add(function)
    return function


@verb()
@_options
@click.argument("command", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
def lock(settings: Settings, name: str, ttl: float, command: Tuple[str, ...], **patience: Any) -> None:
    """Run CMD while holding the lock NAME of a strong keyspace, and exit as it does.

    CMD finds the fencing token in KVSTORE_FENCING_TOKEN. When the lock is lost it gets SIGTERM, five seconds later
    SIGKILL, and the exit code is 4; by then another may hold the lock, so what CMD writes should carry the token.
    """
    with settings.client() as client:
        claim = client.lock(name, ttl=ttl)
        _check(claim.acquire(_timeout(**patience)), f"another holds the lock {name}", **patience)
        _exit_as(settings, command, claim, claim.release)


@verb(cls=_WithValue)
@_options
@click.argument("words", metavar="[VALUE] -- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--value", help="The same as VALUE.")
def elect(
    settings: Settings, name: str, ttl: float, value: Optional[str], words: Tuple[str, ...], **patience: Any
) -> None:
    """Run CMD while leading in the election NAME of a strong keyspace, and exit as it does.

    The others see VALUE of this leader, such as an address. As `lock`: CMD finds the fencing token in
    KVSTORE_FENCING_TOKEN, and is ended, with exit code 4, when leadership is lost.
    """
    name, value, command = _split(name, value, words)
    with settings.client() as client:
        claim = client.election(name, ttl=ttl)
        _check(claim.campaign(value, _timeout(**patience)), f"another leads in {name}", **patience)
        _exit_as(settings, command, claim, claim.resign)


def _split(name: str, option: Optional[str], words: Tuple[str, ...]) -> Tuple[str, str, Tuple[str, ...]]:
    """NAME, VALUE and CMD. A `--` before all of them, or none at all, means that there is no VALUE among them."""
    before: Tuple[str, ...] = ()
    if name == "--":
        name, *rest = words
        words = tuple(rest)
    elif "--" in words:
        at = words.index("--")
        before, words = words[:at], words[at + 1 :]
    if len(before) > 1:
        msg = f"only NAME and VALUE may stand before --, not {' '.join((name, *before))}"
        raise click.UsageError(msg)
    if before and option is not None:
        msg = f"VALUE ({before[0]}) and --value ({option}) are the same: give one"
        raise click.UsageError(msg)
    if not words:
        msg = "Missing argument '-- CMD...'."
        raise click.UsageError(msg)
    return name, before[0] if before else option or "", words


def _timeout(wait: Optional[float], *, no_wait: bool) -> Optional[float]:
    return 0.0 if no_wait else wait


def _check(is_held: bool, why: str, wait: Optional[float], *, no_wait: bool) -> None:  # noqa: ARG001, FBT001
    if not is_held:
        raise Failure(why, CONFLICT if no_wait else DEADLINE)


def _exit_as(settings: Settings, command: Tuple[str, ...], claim: Claim, give_back: Callable[[], None]) -> None:
    """Run the command, give back what is held, and exit with the command's code."""
    try:
        code = _run(command, claim)
    except BaseException:
        # What went wrong says more than that it cannot be given back.
        with contextlib.suppress(kvstore.KVError):
            give_back()
        raise
    try:
        give_back()
    except (kvstore.UnavailableError, kvstore.DeadlineError) as error:
        # The command has run while it was held; others wait until its time is over.
        report_note(settings, f"it could not be given back, and ends by itself: {error}")
    click.get_current_context().exit(code)


def _run(command: Tuple[str, ...], claim: Claim) -> int:
    lost = threading.Event()
    claim.on_lost(lost.set)
    environment = {**os.environ, "KVSTORE_FENCING_TOKEN": str(claim.fencing_token)}
    try:
        process = subprocess.Popen(command, env=environment)  # noqa: S603 - to run it is what this is for; no shell
    except OSError as error:
        msg = f"cannot run {command[0]}: {error.strerror or error}"
        raise Failure(msg, NOT_RUN) from error
    with _signals_to(process):
        code = _wait(process, lost)
    if lost.is_set():
        msg = "what was held is lost, and the command was ended"
        raise Failure(msg, CONFLICT)
    return code if code >= 0 else SIGNALLED - code


def _wait(process: subprocess.Popen[bytes], lost: threading.Event) -> int:
    kill_at: Optional[float] = None
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(_LOOK_SECONDS)
        if lost.is_set() and kill_at is None:
            process.terminate()
            kill_at = time.monotonic() + _GRACE_SECONDS
        if kill_at is not None and time.monotonic() >= kill_at:
            process.kill()


@contextlib.contextmanager
def _signals_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """The command decides what a signal means: this waits for it. Ctrl-C reaches it by itself, from the terminal."""

    def forward(number: int, _frame: Any) -> None:
        process.send_signal(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
