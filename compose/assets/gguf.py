"""GGUF files to model folders: de-quantised once to float32 safetensors, from then on loaded in a second."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from compose import durable
from compose.assets.gguf_header import read_metadata
from compose.assets.quiet import quiet_transformers
from compose.progress import bar

CONVERTER_VERSION = 1
"""Raise it when a change here makes other folders of the same file."""
TEXT_SPLITS: dict[object, pre_tokenizers.PreTokenizer] = {
    "smollm": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
}
"""How text is cut before its bytes are merged, by `tokenizer.ggml.pre`, where transformers does not know it.

Without this SmolLM2's tokenizer would join the spaces before a digit in another way than in its training."""


def dequantise(gguf_file: Path, out_folder: Path) -> Path:
    """Return `out_folder`, made as `convert_into` says; it appears whole or not at all.

    Raises:
        Rejected: `already-exists` when it is there, and what `convert_into` raises.
    """
    with durable.new_folder(out_folder) as folder:
        convert_into(gguf_file, folder)
    return out_folder


def convert_into(gguf_file: Path, folder: Path) -> None:
    """Fill a folder with a GGUF file's weights as float32 safetensors, its config and its tokenizer.

    Args:
        gguf_file: The file; transformers must know its architecture.
        folder: An empty folder.

    Raises:
        Rejected: `asset-digest` when the file is no GGUF, `disk-full` when the weights do not fit.
    """
    metadata = read_metadata(gguf_file)
    with quiet_transformers(), bar(3, f"converting {gguf_file.name}, once", "step") as steps:
        tokenizer = AutoTokenizer.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name)
        split = TEXT_SPLITS.get(metadata.get("tokenizer.ggml.pre"))
        if split is not None:
            tokenizer.backend_tokenizer.pre_tokenizer = split
        tokenizer.save_pretrained(folder)
        steps.update(1)
        model = AutoModelForCausalLM.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name, dtype=torch.float32)
        _forget_quantisation(model)
        steps.update(1)
        with durable.refused_by_disk(folder.parent):
            model.save_pretrained(folder, safe_serialization=True)
        steps.update(1)


def _forget_quantisation(model: PreTrainedModel) -> None:
    """Remove the quantizer that transformers leaves on a de-quantised model, or saving is refused."""
    for attribute, plain in (("hf_quantizer", None), ("is_quantized", False), ("quantization_method", None)):
        setattr(model, attribute, plain)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
