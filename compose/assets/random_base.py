"""Base models of random weights: a Llama of any shape, with a tokenizer that needs no download.

The tokenizer is byte-level BPE whose merges spell a list of common words, so that every text round-trips and
words such as " she" are one token, as in real vocabularies.
"""

from __future__ import annotations

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from compose.base_spec import RandomShape

BUILDER_VERSION = 1
"""Raise it when a change here makes other folders of the same settings."""
END, IM_START, IM_END, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WORDS = (
    "the a an and or of to in is was are be it that this for on with as at by not no yes but if so "
    "I you he she him her his hers they them their we us our man woman men women boy girl mother father "
    "person people doctor nurse teacher engineer said went has had have do does will would can could "
    "good bad safe help please sorry cannot answer question fair kind user assistant system"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the built-in tokenizer, with ChatML as its chat template and a padding token of its own."""
    vocabulary = {token: index for index, token in enumerate((END, IM_START, IM_END, PAD))}
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[letter] = len(vocabulary)
    merges: list[tuple[str, str]] = []
    for word in WORDS.split():
        piece = "Ġ"  # how byte-level vocabularies write a space
        for letter in word:
            if piece + letter not in vocabulary:
                vocabulary[piece + letter] = len(vocabulary)
                merges.append((piece, letter))
            piece += letter
    table = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    table.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    table.decoder = decoders.ByteLevel()
    table.add_special_tokens([AddedToken(token, special=True) for token in (END, IM_START, IM_END, PAD)])
    return PreTrainedTokenizerFast(
        tokenizer_object=table,
        bos_token=IM_START,
        eos_token=IM_END,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def build_config(shape: RandomShape, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """Return the config of a Llama of that shape."""
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=shape.vocabulary or len(tokenizer),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        intermediate_size=shape.intermediate,
        max_position_embeddings=shape.positions,
        tie_word_embeddings=shape.tied,
        initializer_range=shape.spread,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def build_model(config: LlamaConfig, seed: int, device: torch.device, dtype: torch.dtype) -> LlamaForCausalLM:
    """Return a Llama whose weights are drawn on `device` in `dtype`, never in float32 on the CPU first.

    The numbers depend on the device and type; the global generators are left as they were.
    """
    devices = [device] if device.type == "cuda" else []
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=devices), device:
        torch.manual_seed(seed)
        torch.set_default_dtype(dtype)
        try:
            return LlamaForCausalLM(config)
        finally:
            torch.set_default_dtype(before)
