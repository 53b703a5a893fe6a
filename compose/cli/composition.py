"""What the verbs of the algebra share: patches in, one patch out, proven on its base when that is named."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compose.artifact import Patch
    from compose.records import SelfTest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the patches to compose and the description of the result."""
    parser.add_argument("patches", nargs="+", metavar="PATCH", help="folders of the patches, in order")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder that is made for the result")
    parser.add_argument("--name", help="name of the result; by default made of the method and the parts")
    parser.add_argument("--model", help="a name of conf/model/: adopts patches without a card, records a self-test")
    parser.add_argument("--version", help="its version, MAJOR.MINOR.PATCH")


def run(arguments: argparse.Namespace, method: Callable[[Sequence[Patch]], Patch]) -> int:
    """Return 0 once what `method` makes of the named patches is saved and its folder is printed.

    With `--model`, patches that came without a card are taken for patches of that base, and logits are recorded
    that prove the result right, and not only active, on every load.

    Raises:
        Rejected: When a patch is not there, damaged, or one of another base; when the method cannot be applied; when
            the name or version is none, or the folder is taken.
    """
    from compose.artifact import Patch, load, save
    from compose.parse import revise

    parts = [load(folder) for folder in arguments.patches]
    wanted = {"name": arguments.name, "version": arguments.version}
    changes: dict[str, object] = {key: value for key, value in wanted.items() if value is not None}
    if arguments.model is None:
        patch = method(parts)
    else:
        patch, changes["self_test"] = _proven(arguments.model, parts, method)
    named = Patch(patch.prefix, revise(patch.card, **changes)) if changes else patch
    folder = save(named, arguments.out)
    card = named.card
    print(f"{folder}: {card.name} {card.version}, {card.tokens} tokens, {card.expression}")
    return 0


def _proven(model: str, parts: Sequence[Patch], method: Callable[[Sequence[Patch]], Patch]) -> tuple[Patch, SelfTest]:
    """Return the composition and the logits that show it on its base."""
    from compose.artifact import adopt, check_base
    from compose.base import load_base
    from compose.engine.self_test import PROBE, record_self_test
    from compose.laboratory.realise import base_reference

    base = load_base(model)
    dim = base.model.get_input_embeddings().weight.shape[1]
    for part in parts:
        check_base(part.card, base.fingerprint, dim=dim)
    foreign = [part.card.base.fingerprint is None for part in parts]
    patch = method(
        [adopt(part, base_reference(base)) if one else part for part, one in zip(parts, foreign, strict=True)]
    )
    return patch, record_self_test(base.model, patch.prefix, base.tokenizer.encode(PROBE))
