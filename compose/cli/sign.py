"""`compose sign PATCH... --key AUTHOR`: sign patches of a store as their author."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from compose.cli.add import add_store
from compose.cli.keys import add_keys, passphrase
from compose.cli.text import printable
from compose.cli.verb import Verb
from compose.errors import Rejected


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `sign`."""
    parser.add_argument("patches", nargs="+", metavar="PATCH", help="names of patches in the store")
    parser.add_argument("--version", metavar="VERSION", help="which version of them (default: each one's newest)")
    parser.add_argument("--key", metavar="NAME", help="who signs, when several authors' private keys are at hand")
    add_keys(parser)
    add_store(parser)


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once every patch is signed; an earlier signature of theirs is replaced.

    Raises:
        Rejected: `store-missing`, before anything is signed; what the key and the store refuse.
    """
    from compose.trust.authorship import signature_of
    from compose.trust.keys import load_signer, sole_holder
    from compose.trust.store import Store

    now, store = datetime.now(UTC), Store(arguments.store)
    name = arguments.key or sole_holder(arguments.keys, "author", now=now)
    signer = load_signer(arguments.keys, name, "author", now=now, passphrase=passphrase())
    chosen = []
    for patch in arguments.patches:
        found = [one for one in store.versions(patch) if arguments.version in (None, one.card.version)]
        if not found:
            raise Rejected(
                "store-missing",
                subject=f"{patch} {arguments.version or ''}".rstrip(),
                expected=f"a patch in the store {store.root}",
                got="no such patch",
                fix="add its folder with `compose add`, or name the store it is in with --store",
            )
        chosen.append(found[0])
    for stored in chosen:
        store.get(stored.card.prefix, stored.card_digest)  # nobody signs what is damaged
        store.sign(stored, signature_of(stored.locked, signer))
        key = signer.public_key.keyid[:8]
        print(printable(f"{stored.label}: signed by {name} ({key}), to be handed on: {store.patches / stored.entry}"))
    return 0


VERB = Verb("sign patches of a store as their author", add_arguments, run)
