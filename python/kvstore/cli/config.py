"""config: which settings hold, where each comes from, and whether the files are in order."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any, Callable, Dict, Iterator, List, Mapping

import click

import kvstore

from .exits import USAGE, Failure
from .layers import file_layer, layers, read_contexts
from .output import Column, print_records, text_of
from .places import contexts_file, history_file, settings_file
from .settings import DEFAULT, LocalVerb, Settings, verb


@click.group()
def config() -> None:
    """Settings: a flag wins over KVSTORE_*, that over the context, kvstore.toml and the default."""


@verb("show")
@click.option("--origin", is_flag=True, help="Say where each comes from.")
def show(settings: Settings, *, origin: bool) -> None:
    """Print the settings of this command line, and those that NodeConfig.load() would give a node here.

    `serve` takes flags and variables, and a file only by its --config.
    """
    columns = [
        Column("OF", text_of("of")),
        Column("SETTING", text_of("setting")),
        Column("VALUE", lambda record: _shown(record["value"])),
        *([Column("ORIGIN", text_of("origin"))] if origin else []),
    ]
    print_records(settings, "settings", columns, [*_client_settings(settings), *_node_settings()])


def _client_settings(settings: Settings) -> Iterator[Mapping[str, Any]]:
    for each in fields(settings):
        if each.name not in {"origins", "pinned", "of_server"}:
            origin = settings.origins.get(each.name, DEFAULT)
            yield {"of": "client", "setting": each.name, "value": _value_of(settings, each.name), "origin": origin}


def _node_settings() -> Iterator[Mapping[str, Any]]:
    found = _load(kvstore.NodeConfig.load)
    names = _names_in_file()
    for each in fields(found):
        variable = f"KVSTORE_{each.name.upper()}"
        place = str(settings_file()) if each.name in names else DEFAULT
        origin = variable if variable in os.environ else place
        yield {"of": "node", "setting": each.name, "value": _value_of(found, each.name), "origin": origin}


def _value_of(settings: object, name: str) -> Any:
    value = getattr(settings, name)
    if name == "token":
        return None if value is None else "set"
    # A named tuple would be a list in JSON.
    return value._asdict() if isinstance(value, kvstore.TLS) else value


def _names_in_file() -> List[str]:
    layer = file_layer()
    return [] if layer is None else list(layer.others)


def _load(load: Callable[[], kvstore.NodeConfig]) -> kvstore.NodeConfig:
    try:
        return load()
    except OSError as error:
        msg = f"cannot read {settings_file()}: {error.strerror or error}"
        raise Failure(msg, USAGE) from error


def _shown(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return ",".join(f"{name}={part}" for name, part in value.items() if part is not None)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


@verb("check", cls=LocalVerb)
def check(settings: Settings) -> None:
    """Say whether files and variables can be read; exit 2 when one cannot."""
    checks: Dict[str, Callable[[], Any]] = {
        "contexts": read_contexts,
        "client": layers,
        "node": lambda: _load(kvstore.NodeConfig.load),
    }
    records = [{"what": what, "problem": _problem(run)} for what, run in checks.items()]
    columns = [Column("WHAT", text_of("what")), Column("PROBLEM", lambda record: record["problem"] or "ok")]
    print_records(settings, "checks", columns, records)
    bad = [record["what"] for record in records if record["problem"] is not None]
    if bad:
        msg = f"the settings are not in order: {', '.join(map(str, bad))}"
        raise Failure(msg, USAGE)


def _problem(run: Callable[[], Any]) -> Any:
    try:
        run()
    except Failure as error:
        return error.format_message()
    except kvstore.KVError as error:
        return str(error)
    return None


@verb("path", cls=LocalVerb)
def path(settings: Settings) -> None:
    """Print which files are looked at, and whether they are there."""
    columns = [
        Column("WHAT", text_of("what")),
        Column("PATH", text_of("path")),
        Column("THERE", lambda record: "yes" if record["exists"] else "no"),
    ]
    files = {"settings": settings_file().absolute(), "contexts": contexts_file(), "history": history_file()}
    records = ({"what": what, "path": str(file), "exists": file.exists()} for what, file in files.items())
    print_records(settings, "paths", columns, records)


for _command in (show, check, path):
    config.add_command(_command)
