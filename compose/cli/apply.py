"""`compose apply NAME --channel SOURCE --prompt TEXT`: verify the current release, and generate behind it or refuse.

Nothing is generated that is not verified. Without a prompt it says what was verified.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime

from compose.cli.channel import add_reading
from compose.cli.generate import add_sampling, sampling_of
from compose.cli.text import pairs, printable
from compose.cli.verb import Verb


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `apply`."""
    parser.add_argument("name", help="name of the composition")
    parser.add_argument(
        "--prompt",
        action="append",
        default=[],
        dest="prompts",
        metavar="TEXT",
        help="text to continue; may be repeated",
    )
    add_reading(parser)
    parser.add_argument("--model", default="smollm2", help="a name of conf/model/ (default: smollm2)")
    add_sampling(parser)


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once the release is verified, shown to be active on the base, and every prompt is continued.

    Raises:
        Rejected: As `compose.trust.applying.apply`.
    """
    from compose.trust.applying import on_base, verify

    now = datetime.now(UTC)
    verified = verify(arguments.channel, arguments.name, keys=arguments.keys, now=now, state=arguments.state)
    model = on_base(verified.lock, verified.patch, arguments.model, device=arguments.device)
    if not arguments.prompts:
        release = verified.release
        rows = [
            ("verified", f"{release.name} {release.version}"),
            ("released", release.released),
            ("lock", release.lock),
            ("evidence", f"{len(verified.verdict.evidence)} files, checked again"),
            ("base", f"{model.base.name}, {model.base.fingerprint[:19]}"),
            ("self-test", "the patch is active"),
        ]
        print(printable(pairs(rows)))
        return 0
    sampling = sampling_of(arguments, subject="compose apply")
    texts = model.generate(arguments.prompts, sampling, seed=arguments.seed, chat=arguments.chat)
    for prompt, text in zip(arguments.prompts, texts, strict=True):
        if arguments.json:
            print(json.dumps({"prompt": prompt, "patched": text}, ensure_ascii=False))
        else:
            print(printable(f"> {prompt}\n{text}\n"))
    return 0


VERB = Verb("verify the current release of a channel and generate behind it", add_arguments, run)
