"""A base with a patch in front, as a deployer uses it: verified when made, and never silently unpatched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from compose.artifact import Patch, check_base
from compose.base import Base, encode, stop_ids
from compose.engine.context import refuse_too_long
from compose.engine.decode import generate
from compose.engine.layout import refuse_empty
from compose.engine.prefix import PrefixCache
from compose.engine.rows import Row, Sampling
from compose.engine.self_test import PROBE, record_self_test, run_self_test
from compose.engine.sharing import prefix_cache
from compose.errors import Rejected

_ALLOWED = {
    *("max_new_tokens", "min_new_tokens", "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p"),
    *("num_beams", "length_penalty", "early_stopping", "cache_implementation", "suppress_tokens", "eos_token_id"),
}
"""Options of transformers' `generate` under which the prefix is known to stay in front of the text."""

_REFUSED = {
    "assistant_model": "the assistant would draft tokens without the patch",
    "prompt_lookup_num_tokens": "drafted tokens are checked by a path that was not verified with a prefix",
    "prefill_chunk_size": "chunked prefill loses part of the prefix",
    "past_key_values": "a continued cache already holds a prefix, or holds none",
    "inputs_embeds": "embeddings would stand where the patch has to stand",
    "input_ids": "give text; the patch stands before the first token",
    "generation_config": "it can hold any of the options that are refused one by one; give them by name",
    "custom_generate": "foreign decoding code may drop the prefix",
    "repetition_penalty": "behind embeddings it would see the completion and not the prompt",
    "no_repeat_ngram_size": "behind embeddings it would see the completion and not the prompt",
    "num_return_sequences": "give the prompt several times, or several seeds",
}
_WITHOUT_EFFECT = {
    *("pad_token_id", "bos_token_id", "max_length", "min_length", "use_cache", "output_attentions"),
    *("output_hidden_states", "output_scores", "output_logits", "transformers_version", "_from_model_config"),
}
"""What else a base's own generation config may hold: none of it touches the prefix or the choice of a token."""

_NEUTRAL = {
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "diversity_penalty": 0.0,
}
"""Values that say of an option that it does nothing; configs of older releases write them out."""

_UNKNOWN = "it was not verified with a prefix"
_EXACT_CACHES = ("dynamic", "static")


class PatchedModel:
    """A frozen base with one patch in front of every prompt.

    Args:
        base: The base, as `compose.load_base` returns it.
        patch: The patch; its card's base fingerprint must be this base's.

    Raises:
        Rejected: When the patch was made for another base, or its self-test fails.
    """

    def __init__(self, base: Base, patch: Patch) -> None:
        check_base(patch.card, base.fingerprint, dim=base.model.get_input_embeddings().weight.shape[1])
        self.base = base
        self.patch = patch
        test = patch.card.self_test
        if test is None:
            # Without recorded logits the patch can still be shown to be active.
            record_self_test(base.model, patch.prefix, base.tokenizer.encode(PROBE))
        else:
            run_self_test(base.model, patch.prefix, test, patch.card.name)
        with torch.no_grad():
            self._cache = prefix_cache(base.model, [patch.prefix])

    @property
    def cache(self) -> PrefixCache:
        """The patch's keys and values, for the engine's own functions; its index in their rows is 0."""
        return self._cache

    def generate(
        self,
        prompts: str | Sequence[str],
        sampling: Sampling | None = None,
        *,
        seed: int = 0,
        chat: bool = False,
        **options: Any,
    ) -> list[str]:
        """Return one completion a prompt.

        Args:
            prompts: A text, or several.
            sampling: How tokens are drawn; greedy, 64 tokens, when neither this nor `options` is given.
            seed: Seed of the noise; prompt i draws with its own stream.
            chat: Put each prompt as a user's message, through the tokenizer's chat template where it has one.
            **options: Options of transformers' `generate` (beams, top_k, a static cache, ...); they take its
                decoding loop, with the prefix as input embeddings in front of each row.

        Raises:
            Rejected: `unsupported-generation` for an option under which the patch would be lost or wrong;
                `prompt-empty`; `prompt-too-long` for more tokens than the base has positions; `settings-invalid`
                for a negative seed.
        """
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        if seed < 0:
            raise Rejected(
                "settings-invalid",
                subject="seed",
                expected="a whole number from 0 up",
                got=str(seed),
                fix="choose another",
            )
        ids = [encode(self.base.tokenizer, text, chat=chat) for text in texts]
        refuse_empty(ids)
        if options:
            if sampling is not None:
                raise _refused("sampling", "it cannot be mixed with transformers' own options")
            return [self._with_transformers(row, seed + i, options) for i, row in enumerate(ids)]
        rows = [Row(row, 0, seed + i) for i, row in enumerate(ids)]
        settings = sampling or Sampling(max_new_tokens=64, temperature=0.0)
        completions = generate(self.base.model, self._cache, rows, settings, eos_ids=stop_ids(self.base))
        return [self.base.tokenizer.decode(c, skip_special_tokens=True) for c in completions]

    def _with_transformers(self, ids: tuple[int, ...], seed: int, options: dict[str, Any]) -> str:
        """Run transformers' loop on one row: no padding can then come between prefix and text."""
        configured = self.base.model.generation_config
        for option in sorted(set(options) - _ALLOWED):
            raise _refused(option, _REFUSED.get(option, _UNKNOWN))
        for option, value in sorted(configured.to_dict().items()):
            if value not in (None, False, _NEUTRAL.get(option)) and option not in _ALLOWED | _WITHOUT_EFFECT:
                raise _refused(
                    f"{option}, of the base's generation config",
                    _REFUSED.get(option, _UNKNOWN),
                    f"give a Sampling instead, which does not read it, or set model.generation_config.{option} = None",
                )
        refuse_too_long(self.base.model, self._cache, [(0, len(ids) + (options.get("max_new_tokens") or 1))])
        implementation = options.get("cache_implementation", configured.cache_implementation) or "dynamic"
        if implementation not in _EXACT_CACHES:
            raise _refused(
                f"cache_implementation={implementation!r}",
                f"only {' and '.join(_EXACT_CACHES)} caches keep the prefix's keys as the self-test saw them",
            )
        model = self.base.model
        prefix = self._cache.prefixes[0]
        text = model.get_input_embeddings()(torch.tensor(ids, device=self._cache.lengths.device))
        embeds: Float[Tensor, "1 text dim"] = torch.cat([prefix, text])[None]  # type: ignore[list-item]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            output = model.generate(
                inputs_embeds=embeds,
                attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device),
                **options,
            )
        text_out: str = self.base.tokenizer.decode(output[0], skip_special_tokens=True)
        return text_out


def _refused(option: str, reason: str, fix: str = "leave the option out") -> Rejected:
    return Rejected(
        "unsupported-generation",
        subject=f"generation option {option}",
        expected="an option that keeps the whole prefix in front of the text",
        got=f"{option}: {reason}",
        fix=fix,
    )
