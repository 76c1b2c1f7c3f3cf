"""From the nodes and clients of this process to `logging`: their threads fill a queue, and one of Python's empties it.

So whoever logs never waits for a handler, nor for the GIL. What finds no place in the queue is counted and told.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import Dict, Final, Optional, Tuple

from kvstore import _core

_LOOK_SECONDS: Final = 1.0
"""How often it is asked what the loggers want."""

_END_SECONDS: Final = 1.0
"""How long the end of the interpreter waits for what is left. A handler that takes longer is left alone."""

_LEVELS: Final = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
_SILENT: Final = 100

# Level, part, message, file, line, time, node, peer and term.
_Record = Tuple[int, str, str, str, int, float, Optional[str], Optional[str], Optional[int]]

_logger = logging.getLogger("kvstore")
_loggers: Final[Dict[str, logging.Logger]] = {part: _logger.getChild(part) for part in _core.log_parts()}
_thread: Optional[threading.Thread] = None


def begin() -> None:
    """Hand everything to `logging` from now on, in this process; a forked child begins anew."""
    global _thread  # noqa: PLW0603  # there is one process
    _look()
    if _core.open_log():
        _thread = threading.Thread(target=_run, name="kvstore-log", daemon=True)
        _thread.start()


def end() -> None:
    """Hand over what is left, unless that takes long, and no more."""
    _core.close_log()
    if _thread is not None and _thread.is_alive():
        _thread.join(_END_SECONDS)


def _look() -> None:
    """Tell what the loggers want; what nobody wants is not made."""
    _core.set_log_levels([_least(logger) for logger in _loggers.values()])


def _least(logger: logging.Logger) -> int:
    return next((level for level in _LEVELS if logger.isEnabledFor(level)), _SILENT)


def _run() -> None:
    looked, is_open = time.monotonic(), True
    while is_open:
        records, dropped, is_open = _core.take_log(_LOOK_SECONDS)
        for record in records:
            _hand_over(_loggers[record[1]], record)
        if dropped:
            text = f"{dropped} records were dropped: they came faster than the handlers of logging took them"
            _hand_over(_logger, (logging.WARNING, "", text, __file__, 0, time.time(), None, None, None))
        if time.monotonic() - looked >= _LOOK_SECONDS:
            _look()
            looked = time.monotonic()


def _hand_over(logger: logging.Logger, record: _Record) -> None:
    level, _, message, file, line, created, node, peer, term = record
    try:
        if logger.isEnabledFor(level):
            extra = {"node": node, "peer": peer, "term": term}
            made = logger.makeRecord(logger.name, level, file, line, message, (), None, extra=extra)
            # When it happened, not when its turn came.
            made.created, made.msecs = created, (created - int(created)) * 1000
            logger.handle(made)
    except Exception:  # noqa: BLE001 - a filter or handler of the program: others get theirs, and so does the next record
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
