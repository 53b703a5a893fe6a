"""`compose keys new|list|rotate|revoke|pin|threshold|export|import`: who may sign what, and who is trusted."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from compose.cli.text import aligned, printable
from compose.cli.verb import Verb
from compose.errors import Rejected

if TYPE_CHECKING:
    from compose.trust.keyring import Keyring, PublicKey

ROLES = ("author", "evaluator", "releaser")
PASSPHRASE_VARIABLE = "COMPOSE_KEY_PASSPHRASE"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `keys`."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    new = _action(actions, "new", "make a key", _new)
    new.add_argument("name", help="its holder, for instance alice")
    new.add_argument("--role", required=True, choices=ROLES, help="what it may sign")
    _add_days(new)
    _action(actions, "list", "print every key with its role and state", _list)
    rotate = _action(actions, "rotate", "exchange a key; the old one counts for what it signed", _rotate)
    rotate.add_argument("name", help="the key's holder")
    _add_days(rotate)
    revoke = _action(actions, "revoke", "let nothing count that a key signed", _revoke)
    revoke.add_argument("key", help="its holder, or the first 8 digits or more of its id")
    revoke.add_argument("--reason", required=True, help="why, for those who meet it")
    pin = _action(actions, "pin", "accept patches of some names from one author alone", _pin)
    pin.add_argument("name", help="the author; others who are pinned for a patch stay so")
    pin.add_argument("patches", nargs="+", metavar="PATCH", help="names of patches")
    threshold = _action(actions, "threshold", "let it take several releasers to change a channel", _threshold)
    threshold.add_argument("number", type=int, metavar="N", help="how many; 1 where nothing is said")
    export = _action(actions, "export", "write the public keys, for others to import", _export)
    export.add_argument("--out", type=Path, metavar="FILE", help="where to; printed when not given")
    take = _action(actions, "import", "trust the public keys of a keyring", _import)
    take.add_argument("keyring", type=Path, metavar="FILE", help="what `compose keys export` wrote")


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once the action is done."""
    status: int = arguments.action(arguments)
    return status


def add_keys(parser: argparse._ActionsContainer) -> None:
    """Add the option that names the folder of keys."""
    parser.add_argument("--keys", type=Path, default=Path("keys"), metavar="DIR", help="folder of keys (default: keys)")


def passphrase() -> bytes | None:
    """Return the passphrase of the environment, or None: never one of the command line, where others see it."""
    return os.environ.get(PASSPHRASE_VARIABLE, "").encode() or None


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, help_: str, action: object
) -> argparse.ArgumentParser:
    """Return the parser of one action, which has the option --keys."""
    parser = actions.add_parser(name, help=help_, description=f"{help_[0].upper()}{help_[1:]}.")
    add_keys(parser)
    parser.set_defaults(action=action)
    return parser


def _add_days(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=int, default=365, metavar="N", help="how long it counts (default: 365)")


def _new(arguments: argparse.Namespace) -> int:
    """Make a key."""
    from compose.trust.keys import new_key

    key = new_key(
        arguments.keys,
        arguments.name,
        arguments.role,
        now=datetime.now(UTC),
        days=arguments.days,
        passphrase=passphrase(),
    )
    print(f"{_line(key)}\nprivate half: {arguments.keys / key.name}.key")
    if passphrase() is None:
        print(f"it is not encrypted; set {PASSPHRASE_VARIABLE} when you make a key, and it will be")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    """Print the keyring."""
    from compose.trust.keyring import read_keyring

    keyring = read_keyring(arguments.keys)
    rows = [("name", "role", "id", "from", "until", "state")]
    for key in keyring.keys:
        rows.append((key.name, key.role, key.key_id[:8], key.created[:10], key.expires[:10], _state(key)))
    print(printable(aligned(rows)))
    for line in _policy(keyring):
        print(line)
    return 0


def _rotate(arguments: argparse.Namespace) -> int:
    """Exchange a key."""
    from compose.trust.keys import rotate_key

    key = rotate_key(
        arguments.keys, arguments.name, now=datetime.now(UTC), days=arguments.days, passphrase=passphrase()
    )
    print(_line(key))
    if key.role == "releaser":
        print("hand your channels over: compose release --renew --channel DIR, once for each")
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    """Revoke a key."""
    from compose.trust.keys import revoke_key

    key = revoke_key(arguments.keys, arguments.key, now=datetime.now(UTC), reason=arguments.reason)
    print(f"{_line(key)}\ngive the keyring to everyone who trusts it: compose keys export")
    return 0


def _pin(arguments: argparse.Namespace) -> int:
    """Say who must have signed some patches."""
    from compose.trust.keys import pin_patches

    keyring = pin_patches(arguments.keys, arguments.name, arguments.patches)
    print("\n".join(line for line in _policy(keyring) if line.partition(":")[0] in arguments.patches))
    return 0


def _threshold(arguments: argparse.Namespace) -> int:
    """Say how many releasers must sign."""
    from compose.trust.keys import set_threshold

    set_threshold(arguments.keys, arguments.number)
    print(f"releasers who must sign a channel: {arguments.number}")
    print("hand your channels over: compose release --renew --channel DIR; give the keyring to everyone who reads them")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    """Write or print the public keys."""
    from compose import durable
    from compose.trust.keyring import keyring_bytes, read_keyring

    data = keyring_bytes(read_keyring(arguments.keys))
    if arguments.out is None:
        print(data.decode(), end="")
    else:
        durable.write_bytes(arguments.out, data)
        print(f"public keys: {arguments.out}")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    """Take over the public keys of a keyring."""
    from compose.plain_file import read_bytes
    from compose.trust.keyring import MAX_KEYRING_BYTES, known_keys
    from compose.trust.keys import import_keys

    path: Path = arguments.keyring
    data = read_bytes(path, max_bytes=MAX_KEYRING_BYTES, code="keyring-invalid", subject=str(path))
    if data is None:
        raise Rejected(
            "keyring-invalid",
            subject=str(path),
            expected="a keyring that `compose keys export` wrote",
            got="no such file",
            fix="check the path",
        )
    before = set(_policy(known_keys(arguments.keys)))
    changed = import_keys(arguments.keys, data, subject=str(path))
    policy = [line for line in _policy(known_keys(arguments.keys)) if line not in before]
    print("\n".join([*map(_line, changed), *policy]) or "nothing new")
    return 0


def _policy(keyring: Keyring) -> list[str]:
    """Return whose signatures are asked for: who must have signed which patch, and how many a channel; a line each."""
    lines = [f"{patch}: signed by {' or '.join(holders)}, or denied" for patch, holders in keyring.authors.items()]
    return [*lines, f"channels: signed by {keyring.threshold} releasers"] if keyring.threshold > 1 else lines


def _line(key: PublicKey) -> str:
    """Return a key on one line."""
    return printable(f"{key.role} key {key.name} {key.key_id[:8]}, until {key.expires[:10]}: {_state(key)}")


def _state(key: PublicKey) -> str:
    """Return whether a key counts today."""
    if key.revoked is not None:
        return f"revoked {key.revoked.at[:10]}: {key.revoked.reason}"
    return "counts" if key.in_force(datetime.now(UTC)) else "expired"


VERB = Verb("make, list, exchange and revoke signing keys", add_arguments, run)
