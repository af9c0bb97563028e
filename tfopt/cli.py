"""The `tfopt` command: finds the command, reads its flags, and says in one line what went wrong.

Exit codes: 0 all is well; 1 what was asked about is not so (a budget is broken, another file came
out); 2 wrong usage or bad input; 70 an error of tfopt itself; 130 Ctrl-C; 141 the reader of a pipe
has gone.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
import textwrap
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

import tfopt
from tfopt.commands import NAMES, Command, command
from tfopt.errors import TfoptError, nearest

USAGE, INTERNAL, INTERRUPTED, PIPE_CLOSED = 2, 70, 130, 141

_WIDTH, _FLAG_WIDTH = 80, 31


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: What follows `tfopt` on the command line; None takes it from there.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # The C++ side of TensorFlow tells of missing GPUs on every start.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with _short_warnings():
            code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Python flushes stdout once more on its way out, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def _dispatch(arguments: list[str]) -> int:
    first = arguments[0] if arguments else ""
    if first in ("--help", "-h", "--helpfull", "--helpshort", "help"):
        print(_overview())
        return 0
    if first == "--version":
        print(f"tfopt {tfopt.__version__}")
        return 0
    if first not in NAMES:
        if not arguments:
            return _fail(_overview(), USAGE)
        return _fail(f"unknown command {first!r}; {nearest(first, NAMES)}", USAGE)
    return _run(first, command(first), arguments[1:])


def _run(name: str, chosen: Command, arguments: list[str]) -> int:
    values = flags.FlagValues()
    chosen.define(values)
    flags.DEFINE_bool("debug", False, "show the traceback of an error", flag_values=values)
    if any(argument in ("--help", "-h", "--helpfull", "--helpshort") for argument in arguments):
        print(_help(name, chosen, values))
        return 0
    try:
        rest = values([f"tfopt {name}", *arguments])[1:]
    except flags.UnrecognizedFlagError as error:
        close = difflib.get_close_matches(error.flagname, list(values), n=1)
        hint = f"--{close[0]} is nearest; " if close else ""
        return _fail(f"unknown flag --{error.flagname}; {hint}see tfopt {name} --help", USAGE)
    except flags.Error as error:
        return _fail(f"{error}; see tfopt {name} --help", USAGE)
    try:
        return chosen.run(values, rest)
    except BrokenPipeError:
        raise
    except (TfoptError, OSError) as error:
        if values.debug:
            traceback.print_exc()
        return _fail(str(error), USAGE)
    except Exception:  # a mistake in tfopt: its traceback is what has to be reported
        traceback.print_exc()
        return INTERNAL


def _overview() -> str:
    lines = ["Usage: tfopt COMMAND ... --flag=value", "", "Commands:"]
    lines += [f"  {name:<11} {command(name).SUMMARY}" for name in NAMES]
    lines += ["", "tfopt COMMAND --help lists its flags; tfopt --version."]
    return "\n".join(lines)


def _help(name: str, chosen: Command, values: flags.FlagValues) -> str:
    lines = [f"Usage: tfopt {name} {chosen.ARGUMENTS} [--flag=value ...]", chosen.SUMMARY, ""]
    for flag in (values[key] for key in values):
        form = f"  --{flag.name}" + ("" if flag.boolean else "=...")
        text = flag.help.splitlines()[0].rstrip(";")
        if flag.boolean and flag.default:
            text += f" (on; --no{flag.name} turns it off)"
        elif flag.default and flag.default != "default":  # the value's own name
            text += f" (default {flag.default})"
        indent = " " * _FLAG_WIDTH
        lines += textwrap.wrap(
            text, _WIDTH, initial_indent=form.ljust(_FLAG_WIDTH), subsequent_indent=indent
        )
    return "\n".join(lines)


def _fail(message: str, code: int) -> int:
    print(message if message.startswith("Usage") else f"tfopt: {message}", file=sys.stderr)
    return code


@contextlib.contextmanager
def _short_warnings() -> Iterator[None]:
    """Shows tfopt's own warnings as one line: where they were raised is of no use to a user."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Any, category: Any, *where: Any, **others: Any) -> None:
            if category.__module__.startswith("tfopt."):
                print(f"tfopt: warning: {message}", file=sys.stderr)
            else:
                shown(message, category, *where, **others)

        warnings.showwarning = show
        yield
