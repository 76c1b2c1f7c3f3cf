"""Tests with real nodes in real processes over real sockets."""
