"""`compose judge list|card|fit`: the judges, how often they are right, and fitting one to labelled texts of yours."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from compose.cli.text import aligned, pairs, printable
from compose.cli.verb import Verb
from compose.errors import Rejected

if TYPE_CHECKING:
    from compose.evaluate.judges.fitted.card import JudgeCard, Measured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `judge`."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    known = actions.add_parser("list", help="every judge with its error", description="Print every judge.")
    known.set_defaults(action=_list)
    card = actions.add_parser("card", help="print a judge's card, or measure it", description="Print a judge's card.")
    card.add_argument("judge", help="name of the judge, see `compose judge list`")
    card.add_argument("--data", type=Path, metavar="FILE", help="measure it on this file (.jsonl or .csv) instead")
    card.add_argument("--plot", type=Path, metavar="FILE", help="write the calibration plot (PNG)")
    card.add_argument("--json", action="store_true", help="print the whole card as JSON")
    card.set_defaults(action=_card)
    fit = actions.add_parser("fit", help="fit a judge to labelled texts", description="Fit a judge to labelled texts.")
    fit.add_argument("--kind", required=True, help="toxicity, refusal or harm")
    fit.add_argument("--data", type=Path, required=True, metavar="FILE", help=".jsonl or .csv: text, target, group")
    fit.add_argument("--test", type=Path, metavar="FILE", help="also measure on this file, none of it in --data")
    fit.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the head and its cards go")
    fit.add_argument("--name", default="", help="what the data are called on the card (default: the file's name)")
    fit.add_argument("--licence", default="", help="the data's licence, for the card")
    fit.set_defaults(action=_fit)


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once the action is done."""
    status: int = arguments.action(arguments)
    return status


def _list(arguments: argparse.Namespace) -> int:
    """Print every judge with the numbers of its card."""
    from compose.evaluate.judges import JUDGES
    from compose.evaluate.judges.cards import card_of

    rows = [("judge", "AUC", "kappa", "unseen texts", "a score of 1 means")]
    for name in sorted(JUDGES):
        try:
            card = card_of(name)
        except Rejected as error:  # a card of another version says nothing of this judge
            rows.append((name, "-", "-", "-", f"no card: {error.got}"))
            continue
        if card is None:
            rows.append((name, "-", "-", "-", "no card"))
            continue
        first = card.measured[0]
        rows.append((name, f"{first.auc:.3f}", f"{first.kappa:.3f}", str(first.safe + first.unsafe), card.scores))
    print(printable(aligned(rows)))
    return 0


def _card(arguments: argparse.Namespace) -> int:
    """Print a judge's card: the one that ships, or one measured now."""
    from compose import durable
    from compose.evaluate.judges.cards import measured_on, shipped_card

    name: str = arguments.judge
    card = shipped_card(name) if arguments.data is None else measured_on(name, arguments.data, _command())
    if arguments.plot is not None:
        from compose.report.calibration import calibration

        durable.write_bytes(arguments.plot, calibration(card).png)
    if arguments.json:
        print(json.dumps(card.model_dump(mode="json"), indent=1, ensure_ascii=False))
    else:
        print(printable(pairs(_rows(card))))
    return 0


def _fit(arguments: argparse.Namespace) -> int:
    """Fit a head, write it with its cards, and print the cards."""
    from compose.evaluate.judges.fitted.kinds import kind_named
    from compose.evaluate.judges.fitted.labelled import read_labelled
    from compose.evaluate.judges.fitted.publish import Source, publish

    kind_named(arguments.kind)
    labelled = read_labelled(arguments.data)
    source = Source(arguments.name or arguments.data.name, arguments.licence)
    test = None if arguments.test is None else (arguments.test.name, read_labelled(arguments.test))
    cards = publish(arguments.kind, labelled, source, arguments.out, command=_command(), test=test)
    print("\n\n".join(printable(pairs(_rows(card))) for card in cards.values()))
    print(f"\nhead and cards: {arguments.out}")
    return 0


def _rows(card: JudgeCard) -> list[tuple[str, str]]:
    """Return a card as names and values."""
    rows = [("judge", card.judge), ("version", card.version), ("a score of 1", card.scores)]
    for data in card.fitted_on:
        rows.append(("fitted on", f"{data.name}: {data.rows} texts, {data.digest[:19]} {data.licence}".rstrip()))
    for measured in card.measured:
        rows += _measured_rows(measured)
    rows += [("does not see", spot) for spot in card.blind_spots]
    return [*rows, ("command", card.command)]


def _measured_rows(measured: Measured) -> list[tuple[str, str]]:
    sensitivity, specificity = measured.found / measured.unsafe, measured.cleared / measured.safe
    rows = [
        ("measured on", f"{measured.data.name}: {measured.safe} safe and {measured.unsafe} unsafe texts"),
        ("  unseen", measured.unseen),
        ("  AUC", f"{measured.auc:.4f}"),
        ("  kappa", f"{measured.kappa:.3f}"),
        (f"  at {measured.threshold:g}", f"sensitivity {sensitivity:.3f}, specificity {specificity:.3f}"),
    ]
    rows += [(f"  kappa, {group}", f"{kappa:.3f}") for group, kappa in measured.by_group.items()]
    return rows + [(f"  {name.replace('_', ' ')}", f"{value:.4g}") for name, value in measured.further.items()]


def _command() -> str:
    """Return what the user typed, as it can be typed again."""
    import sys

    return shlex.join(["compose", *sys.argv[1:]])


VERB = Verb("list judges, show or measure their error, fit one", add_arguments, run)
