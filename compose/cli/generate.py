"""`compose generate --model M --patch DIR "prompt"`: one prompt with and without the patch, side by side."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from compose.cli.text import side_by_side
from compose.cli.verb import Verb

if TYPE_CHECKING:
    from compose.artifact import Patch
    from compose.engine import Sampling


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `generate`."""
    parser.add_argument("prompts", nargs="+", metavar="PROMPT", help="text to continue")
    parser.add_argument("--patch", required=True, metavar="DIR", help="folder of the patch")
    parser.add_argument("--model", default="smollm2", help="a name of conf/model/ (default: smollm2)")
    add_sampling(parser)


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Add the options of a verb that generates."""
    parser.add_argument("--device", help="cpu, cuda or cuda:<n>; by default the GPU when there is one")
    parser.add_argument("--chat", action="store_true", help="put the prompt as a user's message")
    parser.add_argument("--max-new-tokens", type=int, default=60, metavar="N")
    parser.add_argument("--temperature", type=float, default=0.0, help="0, the default, is greedy")
    parser.add_argument("--top-p", type=float, default=0.9)
    parser.add_argument("--seed", type=_seed, default=0, help="seed of the sampling")
    parser.add_argument("--json", action="store_true", help="one JSON object a prompt instead of columns")


def _seed(text: str) -> int:
    """Return a seed as a number from 0 up."""
    seed = int(text)
    if seed < 0:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 up, found {text}")
    return seed


def sampling_of(arguments: argparse.Namespace, *, subject: str) -> Sampling:
    """Return how tokens are drawn.

    Raises:
        Rejected: `settings-invalid`.
    """
    from compose.engine import Sampling
    from compose.validated import validated

    values = {
        "max_new_tokens": arguments.max_new_tokens,
        "temperature": arguments.temperature,
        "top_p": arguments.top_p,
    }
    return validated(Sampling, values, subject=subject)


def run(arguments: argparse.Namespace) -> int:
    """Return 0 once both completions of every prompt are printed."""
    from compose.artifact import load

    patch = load(arguments.patch)  # before the base: a wrong path should not cost a minute
    without, behind = _completions(arguments, patch)
    name = f"{patch.card.name} {patch.card.version}"
    heads = ("without a patch", name if patch.card.status == "proven" else f"{name} ({patch.card.status})")
    for prompt, base_text, patched_text in zip(arguments.prompts, without, behind, strict=True):
        if arguments.json:
            print(json.dumps({"prompt": prompt, "base": base_text, "patched": patched_text}, ensure_ascii=False))
        else:
            print(f"> {prompt}\n{side_by_side((base_text, patched_text), heads)}\n")
    return 0


def _completions(arguments: argparse.Namespace, patch: Patch) -> tuple[Sequence[str], Sequence[str]]:
    """Return the completions of every prompt without and with the patch, drawn with the same noise."""
    import torch

    from compose.base import load_base, stop_ids
    from compose.engine import Row, generate, prefix_cache
    from compose.engine.patched import PatchedModel
    from compose.evaluate.prompts import make_prompt, render

    sampling = sampling_of(arguments, subject="compose generate")
    base = load_base(arguments.model, device=arguments.device)
    PatchedModel(base, patch)  # refuses a patch of another base, and one that is not active
    prompts = [render(base.tokenizer, make_prompt(text, chat=arguments.chat)) for text in arguments.prompts]
    rows = [Row(prompt, n, arguments.seed + i) for n in (0, 1) for i, prompt in enumerate(prompts)]
    with torch.no_grad():
        cache = prefix_cache(base.model, [None, patch.prefix])
    completions = generate(base.model, cache, rows, sampling, eos_ids=stop_ids(base))
    texts = [base.tokenizer.decode(ids, skip_special_tokens=True) for ids in completions]
    return texts[: len(prompts)], texts[len(prompts) :]


VERB = Verb("continue a prompt with and without a patch, side by side", add_arguments, run)
