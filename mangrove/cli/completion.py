"""`mangrove completion`: what lets a shell complete commands, options and what stands for them."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what completes commands in a shell.

    \b
    bash:  mangrove completion bash > ~/.local/share/bash-completion/completions/mangrove
    zsh:   mangrove completion zsh > ~/.zfunc/_mangrove     (with ~/.zfunc in fpath)
    fish:  mangrove completion fish > ~/.config/fish/completions/mangrove.fish
    """
    from click.shell_completion import BashComplete, get_completion_class

    from mangrove.cli.main import main

    found = get_completion_class(shell)
    if found is None:
        raise click.ClickException(f"there is no completion for {shell}")
    # Click would start a bash to ask for its version, and complain where there is none: what is printed is for 4.4 on.
    if found is BashComplete:
        complete = BashComplete(main, {}, "mangrove", "_MANGROVE_COMPLETE")
        click.echo(complete.source_template % complete.source_vars())
    else:
        click.echo(found(main, {}, "mangrove", "_MANGROVE_COMPLETE").source())
