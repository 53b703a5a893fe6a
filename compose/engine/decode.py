"""Generation for many rows behind many patches: a prefix's keys are computed once, a prompt's once for its samples."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from compose.engine.attention import shared_attention
from compose.engine.context import refuse_too_long
from compose.engine.layout import Layout, Tree, attention_masks, lay_out, refuse_empty, text_positions
from compose.engine.plain import plain_logits
from compose.engine.prefix import PrefixCache, additive, as_model_mask, layer_kinds
from compose.engine.rows import Row, Sampling
from compose.engine.sample import next_tokens, row_noise
from compose.engine.score import head_at

OnTokens = Callable[[int, list[int]], None]
"""Called once a row is finished, with the index of the row and its completion."""


class _RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers ships no types
    """A cache layer with room for the tokens to come, so that a step writes one column and copies nothing.

    Stored with the heads first, [heads, rows, room, dim], as the shared attention reads it.
    """

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.used = 0

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Append [rows, heads, new, dim] states; return views of all states so far."""
        end = self.used + key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            n_rows, n_heads, _n_new, dim = key_states.shape
            self._keys = key_states.new_empty(n_heads, n_rows, self.room, dim)
            self._values = value_states.new_empty(n_heads, n_rows, self.room, value_states.shape[-1])
        self._keys[:, :, self.used : end] = key_states.transpose(0, 1)
        self._values[:, :, self.used : end] = value_states.transpose(0, 1)
        self.used = end
        return self._view()

    def select(self, rows: Tensor) -> None:
        """Keep these rows only, in this order; a row may be taken several times."""
        rows = rows.to(self._keys.device)  # of a model spread over several devices, each layer has its own
        self._keys, self._values = self._keys[:, rows], self._values[:, rows]
        self._view()

    def _view(self) -> tuple[Tensor, Tensor]:
        self.keys = self._keys[:, :, : self.used].transpose(0, 1)
        self.values = self._values[:, :, : self.used].transpose(0, 1)
        return self.keys, self.values


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    cache: PrefixCache,
    rows: Sequence[Row],
    sampling: Sampling,
    *,
    eos_ids: Collection[int],
    batch_size: int = 128,
    on_finished: OnTokens | None = None,
) -> list[list[int]]:
    """Return each row's completion as token ids, ended by an EOS id where one was drawn.

    Rows are batched by patch and prompt length; what a row gets depends on its own seed only (up to the rounding of
    a batched matrix product).

    Raises:
        Rejected: `prompt-empty`; `prompt-too-long` when the base has no positions for what may come.
    """
    refuse_empty(row.prompt for row in rows)
    refuse_too_long(model, cache, [(row.patch, len(row.prompt) + sampling.max_new_tokens) for row in rows])
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i].prompt), rows[i].patch, rows[i].prompt))
    results: list[list[int]] = [[] for _ in rows]
    for start in range(0, len(order), batch_size):
        chosen = sorted(order[start : start + batch_size], key=lambda i: (rows[i].patch, rows[i].prompt))
        batch = [rows[i] for i in chosen]
        decode = _decode_plain if cache.plain_reason is not None else _decode_shared
        for i, completion in zip(chosen, decode(model, cache, batch, sampling, frozenset(eos_ids)), strict=True):
            results[i] = completion
            if on_finished is not None:
                on_finished(i, completion)
    return results


def _prefill(
    model: PreTrainedModel, cache: PrefixCache, layout: Layout, past: DynamicCache
) -> Float[Tensor, "rows vocab"]:
    """Run the prompts once; return the logits behind each prompt's last token."""
    width = layout.input_ids.shape[1]
    ends = (layout.segments == 0).sum(-1) - 1
    index = torch.arange(len(layout.patches), device=ends.device) * width + ends
    masks = attention_masks(model, layout, cache)
    with shared_attention(model, cache.shared(layout.patches)), head_at(model, index):
        output = model(
            input_ids=layout.input_ids,
            position_ids=text_positions(layout, cache),
            attention_mask=as_model_mask(masks),
            past_key_values=past,
            use_cache=True,
        )
    logits: Tensor = output.logits[0]
    return logits


class _Running:
    """The rows of a batch that are still being decoded, with everything indexed by row."""

    def __init__(self, cache: PrefixCache, layout: Layout, source: list[int], past: DynamicCache, room: int) -> None:
        device = cache.lengths.device
        take = torch.tensor(source, device=device)
        self.cache = cache
        self.past = past
        self.index = torch.arange(len(source), device=device)
        self.patches = torch.tensor(layout.patches, device=device)[take]
        self.shared = cache.shared(self.patches.tolist())
        at = text_positions(layout, cache)[take]
        self.next_position = at.max(-1).values + 1
        prompts = (layout.segments == 0)[take]
        self.column = cache.width + prompts.shape[1]
        rest = torch.zeros(len(source), room - prompts.shape[1], dtype=torch.bool, device=device)
        # [rows, width + room]: which columns hold a token, the prefix's first, and the position of each.
        self.seen = torch.cat([cache.valid()[self.patches], prompts, rest], dim=-1)
        self.at = torch.cat([cache.positions()[self.patches], at, rest.long()], dim=-1)
        for layer in past.layers:
            layer.select(take)

    def keep(self, alive: Tensor) -> None:
        """Drop the rows that are finished."""
        rows = alive.nonzero().squeeze(-1)
        for name in ("index", "patches", "next_position", "seen", "at"):
            setattr(self, name, getattr(self, name)[rows])
        self.shared = self.cache.shared(self.patches.tolist())
        for layer in self.past.layers:
            layer.select(rows)


def _decode_shared(
    model: PreTrainedModel, cache: PrefixCache, rows: list[Row], sampling: Sampling, eos_ids: frozenset[int]
) -> list[list[int]]:
    """Decode one batch; samples of one prompt behind one patch share its prefill."""
    device = cache.lengths.device
    prompts = list(dict.fromkeys((row.patch, row.prompt) for row in rows))
    place = {key: n for n, key in enumerate(prompts)}
    layout = lay_out([Tree(prompt, (), patch) for patch, prompt in prompts], device)
    source = [place[(row.patch, row.prompt)] for row in rows]
    room = layout.input_ids.shape[1] + sampling.max_new_tokens
    past = DynamicCache()
    past.layers = [_RoomyLayer(room) for _ in range(model.config.get_text_config().num_hidden_layers)]
    logits = _prefill(model, cache, layout, past)[torch.tensor(source, device=device)]
    running = _Running(cache, layout, source, past, room)
    noise = row_noise([row.seed for row in rows], sampling.max_new_tokens).to(device)
    drawn = torch.full((len(rows), sampling.max_new_tokens), -1, device=device)
    ends = torch.tensor(sorted(eos_ids), device=device)
    for step in range(sampling.max_new_tokens):
        tokens = next_tokens(logits, noise[running.index, step], sampling)
        drawn[running.index, step] = tokens
        alive = ~torch.isin(tokens, ends)
        if step + 1 == sampling.max_new_tokens or not bool(alive.any()):
            break
        if int(alive.sum()) <= 0.9 * len(alive):
            running.keep(alive)
            tokens = tokens[alive]
        logits = _step(model, running, tokens)
    return [_until_end(completion, eos_ids) for completion in drawn.tolist()]


def _step(model: PreTrainedModel, running: _Running, tokens: Tensor) -> Float[Tensor, "rows vocab"]:
    """Append one token a row; return the logits behind it."""
    running.seen[:, running.column] = True
    running.at[:, running.column] = running.next_position
    running.column += 1
    positions = running.next_position[:, None]
    allowed, at = running.seen[:, : running.column], running.at[:, : running.column]
    masks = {
        kind: additive((allowed if window is None else allowed & (positions - at < window))[:, None, None], model.dtype)
        for kind, window in layer_kinds(model).items()
    }
    with shared_attention(model, running.shared):
        output = model(
            input_ids=tokens[:, None],
            position_ids=positions,
            attention_mask=as_model_mask(masks),
            past_key_values=running.past,
            use_cache=True,
        )
    running.next_position = running.next_position + 1
    logits: Tensor = output.logits[:, -1]
    return logits


def _until_end(completion: list[int], eos_ids: frozenset[int]) -> list[int]:
    """Return the drawn tokens up to the first EOS, without what a finished row drew after it."""
    for place, token in enumerate(completion):
        if token in eos_ids:
            return completion[: place + 1]
        if token < 0:
            return completion[:place]
    return completion


def _decode_plain(
    model: PreTrainedModel, cache: PrefixCache, rows: list[Row], sampling: Sampling, eos_ids: frozenset[int]
) -> list[list[int]]:
    """Decode without any cache: slow, and right on every causal architecture."""
    noise = row_noise([row.seed for row in rows], sampling.max_new_tokens)
    completions = []
    for row, draws in zip(rows, noise, strict=True):
        ids: list[int] = []
        while len(ids) < sampling.max_new_tokens and not (ids and ids[-1] in eos_ids):
            logits = plain_logits(model, cache.prefixes[row.patch], row.prompt + tuple(ids))[-1:]
            ids.append(int(next_tokens(logits, draws[len(ids)][None].to(logits.device), sampling)))
        completions.append(ids)
    return completions
