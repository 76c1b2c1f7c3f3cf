"""The native module: the node, the client and the conversions between Python and what they carry.

Private: its names change without notice. The public classes are in `kvstore.node`, `kvstore.client`, `kvstore.aio`.
"""

import asyncio
from typing import Any, Dict, Final, Iterable, List, Mapping, Optional, Tuple, TypeVar, Union, final, overload

from kvstore._options import Key, Read, Seconds, Timeout
from kvstore.codecs import Codec

__version__: Final[str]

D = TypeVar("D")

@final
class Request:
    """A call, converted and checked against the limits, and how its answer becomes Python. Good for one run.

    A `codec` of None is AUTO, which needs no Python code.

    Raises:
        InvalidArgumentError: A key, range or time to live that no store takes; the text names it.
        LimitError: A key, value or batch over its limit.
        CodecError: A value that the codec cannot encode.
    """

    @staticmethod
    def get(key: Key, default: object, codec: Optional[Codec[Any]]) -> Request:
        """Answers the value, or `default`."""
    @staticmethod
    def entry(key: Key, codec: Optional[Codec[Any]]) -> Request:
        """Answers an Entry, or None."""
    @staticmethod
    def get_many(keys: Iterable[Key], codec: Optional[Codec[Any]]) -> Request:
        """Answers a dict of the keys that are there, by str key."""
    @staticmethod
    def exists(key: Key) -> Request:
        """Answers a bool."""
    @staticmethod
    def count(prefix: Key) -> Request:
        """Answers an int."""
    @staticmethod
    def page(page: PageArguments, codec: Optional[Codec[Any]]) -> Request:
        """Answers one page of a scan: a list of Entry, and whether there may be more."""
    @staticmethod
    def key_page(page: PageArguments) -> Request:
        """Answers one page of keys: a list of bytes, and whether there may be more."""
    @staticmethod
    def put(key: Key, value: object, ttl: Optional[Seconds], codec: Optional[Codec[Any]]) -> Request:
        """Answers the new version."""
    @staticmethod
    def put_many(items: Mapping[Any, Any], ttl: Optional[Seconds], codec: Optional[Codec[Any]]) -> Request:
        """Answers None."""
    @staticmethod
    def delete(key: Key) -> Request:
        """Answers whether the key was there."""
    @staticmethod
    def delete_many(keys: Iterable[Key]) -> Request:
        """Answers how many were there."""
    @staticmethod
    def touch(key: Key, ttl: Optional[Seconds]) -> Request:
        """Answers whether the key is there."""
    @staticmethod
    def ping() -> Request:
        """Answers None."""
    @staticmethod
    def status(digests: bool) -> Request:  # noqa: FBT001
        """Answers a NodeStatus."""
    @staticmethod
    def members() -> Request:
        """Answers a tuple of MemberStatus."""
