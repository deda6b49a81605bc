"""Command lines of guides and units, read as `backstay` reads them; nothing is carried out."""

from __future__ import annotations

from typer import TyperException

from cli.app import PROGRAM
from cli.groups import Group, build_group
from cli.invocation import Invocation
from cli.tree import Root
from fleet.errors import ToolError


def refusal_of(arguments: list[str]) -> str | None:
    """Why the arguments behind ``backstay`` are no command; None if they are one."""
    command, rest = build_group(Root, PROGRAM), list(arguments)
    context = command.make_context(PROGRAM, [], obj=Invocation(), resilient_parsing=True)
    while isinstance(command, Group):
        if not rest:
            return "it is no command"
        name = rest.pop(0)
        member = command.get_command(context, name)
        if member is None:
            return f"there is no {name}"
        command = member
        if isinstance(command, Group):
            context = command.make_context(name, [], parent=context, resilient_parsing=True)
    try:
        command.make_context("it", rest, parent=context)
    except (TyperException, ToolError) as error:
        return str(error)
    return None
