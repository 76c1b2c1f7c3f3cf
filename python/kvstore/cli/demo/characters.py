"""The input: Python's own Unicode character database, about 140,000 named characters."""

from __future__ import annotations

import sys
import unicodedata
from itertools import islice
from typing import Any, Dict, Iterator, Optional, Tuple

Table = Dict[str, Dict[str, Any]]


def characters(limit: Optional[int] = None) -> Table:
    """What Unicode says of each named character, by its code point, such as `U+0041`.

    Args:
        limit: The first so many only; None: all.

    Returns:
        The table, in the order of the code points.
    """
    return dict(islice(_rows(), limit))


def _rows() -> Iterator[Tuple[str, Dict[str, Any]]]:
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        name = unicodedata.name(char, "")
        if name:
            yield f"U+{code:04X}", _properties(char, name)


def _properties(char: str, name: str) -> Dict[str, Any]:
    return {
        "name": name,
        "category": unicodedata.category(char),
        "bidirectional": unicodedata.bidirectional(char),
        "combining": unicodedata.combining(char),
        "decomposition": unicodedata.decomposition(char),
        "width": unicodedata.east_asian_width(char),
        "mirrored": bool(unicodedata.mirrored(char)),
    }
