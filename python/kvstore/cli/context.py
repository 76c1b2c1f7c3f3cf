"""context: names for targets, in a file of the user."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, Final, Iterator, Mapping

import click

import kvstore

from .exits import NOT_FOUND, Failure
from .layers import CONTEXT_SETTINGS, Contexts, read_contexts, write_contexts
from .output import Column, print_record, print_records, text_of
from .secret import without_token
from .settings import FLAG, LocalVerb, Settings, verb

# A file in the text of --tls.
_FILE: Final = re.compile(r"\b((?:ca|cert|key)=)([^,]+)")


@click.group()
def context() -> None:
    """Names for targets: used below flags and KVSTORE_*; KVSTORE_CONTEXT takes another for a while."""


@verb("add", cls=LocalVerb)
@click.argument("name")
@click.argument("target", metavar="SERVER")
def add(settings: Settings, name: str, target: str) -> None:
    """Remember SERVER (as for -s) as NAME, with the -k, --read, --timeout, --tls and --token-file given here.

    Replaces one of that name; the first one is used from then on. A token file is remembered by its name, a token in
    SERVER itself as it is: only you can read the file with the contexts.
    """
    given = [each for each in CONTEXT_SETTINGS if each != "server" and settings.origins.get(each) == FLAG]
    # Makes no connection; refuses what is no target, and no keyspace, by name.
    kvstore.Client(
        target, settings.keyspace, **{each: getattr(settings, each) for each in given if each == "tls"}
    ).close()
    values: Dict[str, Any] = {"server": target, **{each: getattr(settings, each) for each in given}}
    if "token_file" in given:
        values["token_file"] = _absolute(values["token_file"])
    if "tls" in given:
        values["tls"] = _FILE.sub(lambda match: match[1] + _absolute(match[2]), values["tls"])
    contexts = read_contexts()
    write_contexts(Contexts(contexts.current or name, {**contexts.named, name: values}))
    if not settings.quiet:
        print_record(settings, {"name": name, **values, "server": without_token(target)}, f"added {name}")


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


@verb("use", cls=LocalVerb)
@click.argument("name", required=False)
@click.option("--none", "nothing", is_flag=True, help="Use none from now on.")
def use(settings: Settings, name: str, *, nothing: bool) -> None:
    """Use NAME from now on; exit 1 when there is none of that name."""
    if (name is None) != nothing:
        msg = "say a NAME or --none"
        raise click.UsageError(msg)
    contexts = read_contexts()
    if name is not None:
        _check_there(contexts, name)
    write_contexts(contexts._replace(current=name))
    if not settings.quiet:
        print_record(settings, {"current": name}, f"using {name or 'no context'}")


@verb("ls", cls=LocalVerb)
def list_contexts(settings: Settings) -> None:
    """Print the contexts; the one in use has a star."""
    columns = [
        Column("USED", lambda record: "*" if record["current"] else ""),
        Column("NAME", text_of("name")),
        Column("SERVER", text_of("server")),
        Column("KEYSPACE", text_of("keyspace")),
        Column("READ", text_of("read")),
        Column("TIMEOUT", text_of("timeout")),
    ]
    print_records(settings, "contexts", columns, _records(read_contexts()))


def _records(contexts: Contexts) -> Iterator[Mapping[str, Any]]:
    for name in sorted(contexts.named):
        values = {setting: contexts.named[name].get(setting) for setting in CONTEXT_SETTINGS}
        values["server"] = without_token(str(values["server"]))
        yield {"name": name, "current": name == contexts.current, **values}


@verb("rm", cls=LocalVerb)
@click.argument("name")
def remove(settings: Settings, name: str) -> None:
    """Forget NAME; exit 1 when there is none of that name."""
    contexts = read_contexts()
    _check_there(contexts, name)
    del contexts.named[name]
    write_contexts(contexts._replace(current=None if contexts.current == name else contexts.current))
    if not settings.quiet:
        print_record(settings, {"removed": name}, f"removed {name}")


def _check_there(contexts: Contexts, name: str) -> None:
    if name not in contexts.named:
        msg = f"there is no context {name!r}"
        raise Failure(msg, NOT_FOUND)


for _command in (add, use, list_contexts, remove):
    context.add_command(_command)
