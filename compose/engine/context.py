"""How much text a base has positions for: what does not fit behind its prefix is refused and not computed."""

from __future__ import annotations

from collections.abc import Iterable

from transformers import PreTrainedModel

from compose.engine.prefix import PrefixCache
from compose.errors import Rejected


def refuse_too_long(model: PreTrainedModel, cache: PrefixCache, texts: Iterable[tuple[int, int]]) -> None:
    """Refuse text for which a base has no positions: rotary ones would go on into nonsense without a word.

    Args:
        model: The base; one without a limit of its own takes any length.
        cache: The prefixes.
        texts: For each row, the index of its patch, and how many tokens stand behind it at most.

    Raises:
        Rejected: `prompt-too-long`, for the longest row.
    """
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(limit, int) or limit <= 0:
        return
    tokens = [0 if prefix is None else prefix.shape[0] for prefix in cache.prefixes]
    whole, text = max(((tokens[patch] + count, count) for patch, count in texts), default=(0, 0))
    if whole > limit:
        raise Rejected(
            "prompt-too-long",
            subject=f"{text} tokens of text behind {whole - text} of a patch",
            expected=f"at most {limit} together, as many as the base has positions",
            got=str(whole),
            fix="shorten the text, take fewer new tokens, or a shorter patch",
        )
