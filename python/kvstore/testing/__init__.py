"""Throwaway clusters with faults, for tests of programs that use kvstore; pytest is not needed."""

from kvstore.testing.cluster import LocalCluster

__all__ = ["LocalCluster"]
