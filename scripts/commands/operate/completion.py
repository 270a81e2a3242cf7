"""`reftide completion`: a shell's script that completes commands and options."""

from typing import Final

import click
from click.shell_completion import get_completion_class

_SHELLS: Final = ("bash", "zsh", "fish")


@click.command(
    epilog="""\b
  reftide completion bash > ~/.local/share/bash-completion/completions/reftide
  reftide completion zsh > ~/.zfunc/_reftide      with ~/.zfunc in fpath
  reftide completion fish > ~/.config/fish/completions/reftide.fish
"""
)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script that lets SHELL complete commands and options.

    Write it where the shell looks for such scripts, and start a new shell.
    """
    program = context.find_root()
    if (kind := get_completion_class(shell)) is not None:
        completion = kind(program.command, {}, "reftide", "_REFTIDE_COMPLETE")
        click.echo(completion.source())
