"""The command line: one verb a file, listed in the table below, and what happens when a verb fails."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from compose import __version__
from compose.cli import (
    add,
    apply,
    attack,
    audit,
    benchmark,
    check,
    concat,
    current,
    diff,
    doctor,
    evaluate,
    generate,
    init,
    judge,
    keys,
    lock,
    mean,
    release,
    rollback,
    show,
    sign,
    train,
    why,
    yank,
)
from compose.cli.verb import Verb
from compose.errors import exit_status

VERBS: dict[str, Verb] = {
    "train": train.VERB,
    "show": show.VERB,
    "concat": concat.VERB,
    "mean": mean.VERB,
    "generate": generate.VERB,
    "evaluate": evaluate.VERB,
    "attack": attack.VERB,
    "benchmark": benchmark.VERB,
    "judge": judge.VERB,
    "add": add.VERB,
    "sign": sign.VERB,
    "init": init.VERB,
    "lock": lock.VERB,
    "diff": diff.VERB,
    "why": why.VERB,
    "check": check.VERB,
    "keys": keys.VERB,
    "release": release.VERB,
    "current": current.VERB,
    "rollback": rollback.VERB,
    "yank": yank.VERB,
    "apply": apply.VERB,
    "audit": audit.VERB,
    "doctor": doctor.VERB,
}
"""Every verb, in the order of the help. A verb's module imports what is heavy only when it runs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status: 0, 1 when something is broken, 2 for an error of input, 130 after Ctrl-C.

    Args:
        argv: The words after the program's name; those of this process when None.
    """
    arguments = _parser().parse_args(argv)
    verb: Verb = arguments.verb
    return exit_status(lambda: verb.run(arguments))


def _parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    parser = argparse.ArgumentParser(prog="compose", description="Train, compose and try safety patches.")
    parser.add_argument("--version", action="version", version=f"compose {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name, verb in VERBS.items():
        one = verbs.add_parser(name, help=verb.help, description=f"{verb.help[0].upper()}{verb.help[1:]}.")
        verb.add_arguments(one)
        one.set_defaults(verb=verb)
    return parser
