"""completion: what a shell needs to complete commands and options."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.shell_completion import get_completion_class

from .exits import INTERNAL, Failure
from .settings import LocalVerb, Settings, verb

if TYPE_CHECKING:
    from typing import Optional, Type

    from click.shell_completion import ShellComplete

_SHELLS = ("bash", "zsh", "fish")
_PROGRAM = "kvstore"
_VARIABLE = "_KVSTORE_COMPLETE"


@verb(cls=LocalVerb)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, _settings: Settings, shell: str) -> None:
    """Print the script that makes SHELL complete `kvstore`: its commands and options, not the keys of a store.

    For bash: `eval "$(kvstore completion bash)"` in ~/.bashrc; zsh is the same in ~/.zshrc; for fish, write it to
    ~/.config/fish/completions/kvstore.fish.
    """
    found: Optional[Type[ShellComplete]] = get_completion_class(shell)
    if found is None:
        msg = f"this version of click knows no {shell}"
        raise Failure(msg, INTERNAL)
    script = found(ctx.find_root().command, {}, _PROGRAM, _VARIABLE)
    # Not source(): it would start a bash to ask for its version.
    click.echo(script.source_template % script.source_vars())
