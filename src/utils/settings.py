"""Settings of the scripts: one frozen dataclass each, from which the command line and the saved JSON follow."""

import argparse
import dataclasses
import functools
import io
import math
import os
import re
import shlex
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, ParamSpec, TypeVar

from src.utils.exceptions import FitError, InputError
from src.utils.text import error_in_words

_P = ParamSpec("_P")
_R = TypeVar("_R")
_S = TypeVar("_S")

QUANTITY = re.compile(r"^(candidate [^:]+: )?(\w+(?:, \w+)*)(?=(?: [^:]{0,60})?: )")
"""What an error of the library is about, one quantity or several, at the beginning of its message."""


def option(
    default: Any,
    help: str,
    *,
    unit: str = "",
    above: float = -math.inf,
    at_least: float = -math.inf,
    at_most: float = math.inf,
    choices: Sequence[str] = (),
    positional: bool = False,
    sets: str = "",
) -> Any:
    """Declare one setting: its default, its help text, its unit and the values that make sense.

    Parameters
    ----------
    default : bool, int, float, str, tuple or None
        A setting annotated ``T | None`` may be None, which its help explains; ``tuple[str, ...]`` is for any number of
        words without a name.
    help : str
        What it means, in words; unit, default and range are appended by `parse`, save a default of None that the words
        explain, with "without".
    unit : str
        For instance ``"s"``.
    above, at_least, at_most : float
        Bounds of a number, checked by `check_settings`.
    choices : sequence of str
        The words allowed.
    positional : bool
        Given on the command line without its name.
    sets : str
        What it is called in messages of the library, if not by its own name; see `names_options`.
    """
    bounds = {"above": above, "at_least": at_least, "at_most": at_most}
    rules = {"help": help, "unit": unit, "choices": tuple(choices), "positional": positional, "sets": sets, **bounds}
    return dataclasses.field(default=default, metadata=rules)


def _type_of(settings_class: type, name: str) -> tuple[type, bool]:
    """Return the plain type of a field and whether it may be None."""
    hint = typing.get_type_hints(settings_class)[name]
    if typing.get_origin(hint) is tuple:
        return tuple, False
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return (kinds[0], True) if kinds else (hint, False)


def check_settings(settings: Any) -> None:
    """Check every field of a settings object against its declaration.

    Raises
    ------
    InputError
        Names the option, what was expected and what came.
    """
    for field in dataclasses.fields(settings):
        value, rules = getattr(settings, field.name), field.metadata
        kind, may_be_none = _type_of(type(settings), field.name)
        if value is None and may_be_none:
            continue
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            object.__setattr__(settings, field.name, value := float(value))
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise InputError(f"--{field.name}: expected {kind.__name__}, got {value!r}")
        if rules["choices"] and value not in rules["choices"]:
            raise InputError(f"--{field.name}: expected one of {', '.join(rules['choices'])}, got {value!r}")
        if isinstance(value, (int, float)) and kind is not bool:
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"--{field.name}: expected a finite number, got {value}")
            for word, broken in (
                ("above", value <= rules["above"]),
                ("at least", value < rules["at_least"]),
                ("at most", value > rules["at_most"]),
            ):
                if broken:
                    bound = rules[word.replace(" ", "_")]
                    raise InputError(
                        f"--{field.name}: expected {word} {bound:g} {rules['unit']}, got {value}".replace(" ,", ",")
                    )


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print one line and leave with status 2."""
        self.exit(2, f"{self.prog}: error: {message} (--help lists the options)\n")


def _as_typed() -> str | None:
    """Return what runs, as "python -m src.posterior"; None for a script, which argparse names well."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {spec.name.removesuffix('.__main__')}" if spec else None


def _default_and_range(default: Any, rules: Mapping[str, Any]) -> str:
    """Return for instance " (default: 0.004 s; 0.0002 to 0.01)", the end of the help of an option."""
    if default in (None, ()):
        parts = [] if "without" in rules["help"] else ["default: none"]
    else:
        parts = [f"default: {default} {rules['unit']}".strip()]
    above, least, most = rules["above"], rules["at_least"], rules["at_most"]
    if math.isfinite(least) and math.isfinite(most):
        parts.append(f"{least} to {most}")
    else:
        words = (("above", above), ("at least", least), ("at most", most))
        given = [f"{word} {bound}" for word, bound in words if math.isfinite(bound)]
        parts += [", ".join(given)] if given else []
    return f" ({'; '.join(parts)})" if parts else ""


def _refuse_nothing(settings_class: type, given: Mapping[str, Any]) -> None:
    """Raise an error about a text that is empty; as the name of a file, it would be the working directory."""
    for field in dataclasses.fields(settings_class):
        if given[field.name] == "" != field.default:
            what = "expected a text, got an empty one, as of a variable of the shell that is not set"
            raise InputError(f"{'' if field.metadata['positional'] else '--'}{field.name}: {what}")


def parse(settings_class: type[_S], description: str, argv: Sequence[str] | None = None, name: str | None = None) -> _S:
    """Read the command line into a settings object; defaults, types and help come from the dataclass.

    Errors begin with the `name` of the command, without it as it was typed.

    Raises
    ------
    InputError
        A value is out of its range.
    SystemExit
        An option is unknown, or a value is not of its type (one line on standard error, status 2).
    """
    parser = Parser(name or _as_typed(), description=description, allow_abbrev=False)
    for field in dataclasses.fields(settings_class):  # type: ignore[arg-type]
        kind, may_be_none = _type_of(settings_class, field.name)
        rules = field.metadata
        text = rules["help"].replace("%", "%%")
        if kind is bool:
            parser.add_argument(f"--{field.name}", action="store_true", help=f"{text} (default: off)")
            continue
        if rules["positional"]:
            text += _default_and_range(field.default, rules)
            if kind is tuple:
                parser.add_argument(field.name, nargs="*", default=(), metavar=field.name.upper(), help=text)
                continue
            parser.add_argument(
                field.name, nargs="?", type=kind, default=field.default, metavar=field.name.upper(), help=text
            )
            continue
        parser.add_argument(
            f"--{field.name}",
            type=kind,
            default=field.default,
            choices=rules["choices"] or None,
            metavar=None
            if rules["choices"]
            else kind.__name__.upper() + (f"[{rules['unit']}]" if rules["unit"] else ""),
            help=text + _default_and_range(field.default, rules),
        )
    given = vars(parser.parse_args(argv)).items()
    _refuse_nothing(settings_class, dict(given))
    settings = settings_class(**{name: tuple(value) if isinstance(value, list) else value for name, value in given})
    check_settings(settings)
    return settings


def names_options(settings_class: type) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Return a decorator of a command: errors about a quantity name the option that sets it.

    A library knows nothing of options: it says ``"trial_length: expected ..."``, and the command ``"--trial_length"``.
    """
    fields = dataclasses.fields(settings_class)
    options = {field.metadata.get("sets") or field.name: field.name for field in fields}

    def named(match: re.Match[str]) -> str:
        whose, words = match[1] or "", match[2].split(", ")
        known = options.keys() >= set(words)
        return whose + ", ".join(f"--{options[word]}" for word in words) if known else match[0]

    def decorated(main: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(main)
        def command(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            try:
                return main(*args, **kwargs)
            except InputError as error:
                raise InputError(re.sub(QUANTITY, named, str(error))) from None

        return command

    return decorated


def as_dict(settings: Any) -> dict[str, Any]:
    """Return the settings as a plain dictionary, for JSON."""
    return dataclasses.asdict(settings)


@contextmanager
def says_how_to_resume(script: str, argv: Sequence[str] | None) -> Iterator[None]:
    """Add to an interruption by Ctrl-C the command that goes on."""
    try:
        yield
    except KeyboardInterrupt:
        given = [word for word in (sys.argv[1:] if argv is None else argv) if word not in ("--resume", "--overwrite")]
        raise KeyboardInterrupt(f"to go on: {script} {shlex.join([*given, '--resume'])}") from None


def anywhere() -> None:
    """Let a script run without a display and on any terminal: figures are only written, odd characters shown as "?"."""
    os.environ["MPLBACKEND"] = "Agg"  # another one may be set that is not there, as in a notebook's environment
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def run_script(main: Callable[[], int | None], name: str) -> NoReturn:
    """Run a script's main function; what the user can mend is one line on standard error, without traceback.

    Exit status: 0 on success, 2 for input that cannot be used, 1 for trouble on the way, 130 after Ctrl-C.
    """
    anywhere()
    try:
        status = main() or 0
    except InputError as error:
        print(f"{name}: error: {error_in_words(error)}", file=sys.stderr)
        status = 2
    except (FitError, MemoryError) as error:
        print(f"{name}: error: {error_in_words(error, 'not enough memory')}", file=sys.stderr)
        status = 1
    except OSError as error:
        print(f"{name}: error: {error.filename or 'file'}: {error.strerror or error}", file=sys.stderr)
        status = 1
    except KeyboardInterrupt as error:
        print("; ".join([f"{name}: interrupted", *map(str, error.args)]), file=sys.stderr)
        status = 130
    sys.exit(status)
