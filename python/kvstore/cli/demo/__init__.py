"""`kvstore demo`: three nodes, real input, one of them killed on the way, and an account of what happened."""

from .command import demo

__all__ = ["demo"]
