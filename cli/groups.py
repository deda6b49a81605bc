"""Groups of commands. A command's module is imported when it is used, so that help answers at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from itertools import pairwise
from typing import Any, ClassVar, Literal, NamedTuple

import typer
import typer.core
import typer.main

from cli.invocation import invocation_of
from cli.options import place_options, shared_options
from fleet.errors import UsageError

_SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
_PATHS = {"DIR", "FILE"}
"""What stands for a path in the help of an option."""
_EPILOG = "Exit codes: `backstay --help`. JSON keys: cli/README.md."


class Late(NamedTuple):
    """A command to import when it is used, ``module:function``, and its line in the list of commands.

    ``mirror``: the option, ``--from`` or ``--on``, that makes it work on the mirror; None: it cannot.
    """

    place: str
    text: str
    mirror: Literal["--from", "--on"] | None = None


class Command(typer.core.TyperCommand):
    """A command that takes its own options and the shared ones."""

    def __init__(self, *arguments: Any, params: list[Any] | None = None, **settings: Any) -> None:
        super().__init__(*arguments, params=[*(params or []), *shared_options()], **settings)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options: list[Any] = [one for one in self.get_params(ctx) if one.param_type_name == "option"]
        _refuse_an_option_as_a_value(ctx, options, args)
        _refuse_empty_paths(options, args)
        _refuse_empty_arguments(ctx, options, args)
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        names = [_usage_of(one) for one in self.get_params(ctx) if one.param_type_name == "argument"]
        return [*names, "[OPTIONS]"]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        arguments: list[tuple[str, str]] = []
        options: list[tuple[str, str]] = []
        for one in self.get_params(ctx):
            name, text = one.get_help_record(ctx) or ("", "")
            if one.param_type_name == "argument":
                arguments.append((_usage_of(one), text.removesuffix("[required]").rstrip()))
            elif name:
                options.append((name, text))
        for heading, rows in (("Arguments", arguments), ("Options", options)):
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)


class Group(typer.core.TyperGroup):
    """Some commands and groups under one name; ``text`` is its help. It takes the shared options, too."""

    text: ClassVar[str]
    members: ClassVar[Mapping[str, Late | type[Group]]]
    default: ClassVar[str | None] = None
    """The member that is meant where none is named: ``standby s1`` is ``standby follow s1``."""

    def __init__(self, *, params: list[Any] | None = None, **settings: Any) -> None:
        super().__init__(params=[*(params or []), *shared_options()], **settings)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 (typer's signature)
        return list(self.members)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 (typer's signature)
        member = self.members.get(cmd_name)
        if member is None:
            return None
        return _command(cmd_name, member) if isinstance(member, Late) else build_group(member, cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 (typer's signature)
        with formatter.section("Commands"):
            formatter.write_dl([(name, member.text) for name, member in self.members.items()])

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = {name for one in self.get_params(ctx) for name in one.opts}
        _refuse_empty_paths(self.get_params(ctx), args)
        if self.default and args and args[0] not in {*self.members, *own, "-h", "--help"}:
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if self.default and args[0] not in self.members:
            args = [self.default, *args]
        # typer suggests the names that it finds here.
        self.commands = dict.fromkeys(self.members)
        return super().resolve_command(ctx, args)


def build_group(
    kind: type[Group], name: str, *, callback: Callable[..., None] | None = None, completion: bool = False
) -> Any:
    """The click group of ``kind``; called alone it prints its help. ``callback`` takes more options."""
    carrier = typer.Typer(
        cls=kind,
        name=name,
        help=kind.text,
        epilog=_EPILOG,
        add_completion=completion,
        context_settings=_SETTINGS,
        rich_markup_mode=None,
        subcommand_metavar="COMMAND ...",
    )
    carrier.callback(invoke_without_command=True)(callback or help_if_alone)
    return typer.main.get_command(carrier)


def help_if_alone(context: typer.Context) -> None:
    """Print a group's help when it was called without a command; to a program that is a mistake."""
    if context.invoked_subcommand is None:
        if invocation_of(context).as_json:
            raise UsageError("no command is given", hint=f"Try: {context.command_path} --help")
        typer.echo(context.get_help())


def _refuse_an_option_as_a_value(ctx: Any, options: list[Any], args: list[str]) -> None:
    """``--into --delta`` forgot a directory, and must not make one of the name ``--delta``."""
    names = {name for one in options for name in (*one.opts, *one.secondary_opts)}
    takes_value = _value_options(options)
    words = args[: args.index("--")] if "--" in args else args
    for option, value in pairwise(words):
        if option in takes_value and value in names:
            raise UsageError(
                f"{option} has no value: {value} follows it, which is an option",
                hint=f"Try: {ctx.command_path} --help",
            )


def _refuse_empty_paths(options: list[Any], args: list[str]) -> None:
    """``--into "$DIR"`` with nothing in ``DIR`` must not mean the working directory."""
    of_paths = {name for one in options if one.metavar in _PATHS for name in one.opts}
    for word, following in pairwise([*args, None]):
        name, equals, value = (word or "").partition("=")
        if name in of_paths and (value if equals else following) == "":
            raise UsageError(
                f"{name} is empty, and it names a file or a directory",
                hint="A variable may have been empty; for the working directory, write a dot.",
            )


def _refuse_empty_arguments(ctx: Any, options: list[Any], args: list[str]) -> None:
    """The same for a shard, a label or a directory that is named without an option."""
    takes_value = _value_options(options)
    for before, word in pairwise(["", *args]):
        if word == "" and before not in takes_value:
            raise UsageError("an argument is empty", hint=f"Try: {ctx.command_path} --help")


def _value_options(options: list[Any]) -> set[str]:
    return {name for one in options if not (one.is_flag or one.count) for name in one.opts}


def _usage_of(argument: Any) -> str:
    """``SHARD``, ``[LABEL]`` or ``[SHARD]...``, by how many it takes."""
    name = argument.metavar or argument.name.upper()
    return name if argument.required else f"[{name}]{'...' if argument.nargs != 1 else ''}"


def _command(name: str, late: Late) -> Any:
    module, function = late.place.split(":")
    carrier = typer.Typer(add_completion=False, rich_markup_mode=None)
    body: Callable[..., None] = getattr(import_module(module), function)
    carrier.command(name, cls=Command, context_settings=_SETTINGS, epilog=_EPILOG)(body)
    command = typer.main.get_command(carrier)
    command.params += place_options(late.mirror)
    return command
