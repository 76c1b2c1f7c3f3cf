"""The command line: `kvstore`, or `python -m kvstore`. It uses only the public names of `kvstore`."""

from .app import main

__all__ = ["main"]
