"""Plug-ins for other libraries, each in a module that imports its library and is imported by nothing else.

`django`, `dogpile`, `huey`, `cachelib`, `limits` and `celery`; see docs/integrations.md.
"""
