"""The pytest plugin of kvstore. See `pytest_kvstore.plugin`."""
