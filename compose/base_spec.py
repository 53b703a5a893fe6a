"""Which base model is meant and how it is loaded: the records behind `conf/model/*.yaml`. Without torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, StringConstraints, model_validator
from pydantic.dataclasses import dataclass

from compose.assets.source import Asset
from compose.conf_path import conf_folder
from compose.errors import Rejected
from compose.records import SETTINGS
from compose.validated import validated

Positive = Annotated[int, Field(gt=0)]


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class RandomShape:
    """A Llama of random weights, for tests and for timing.

    Attributes:
        hidden: Width of the embeddings.
        layers: Decoder layers.
        heads: Attention heads.
        kv_heads: Heads of keys and values.
        intermediate: Width inside the feed-forward layers.
        vocabulary: Rows of the embedding matrix; None for as many as the built-in tokenizer needs.
        positions: Longest sequence that the config allows.
        tied: Whether input and output embeddings are one matrix.
        spread: Standard deviation of the weights.
        seed: Seed of the weights.
        in_memory: Build the weights on the device at each load instead of saving them once: for timing large
            shapes, whose weights then differ between devices.
    """

    hidden: Positive
    layers: Positive
    heads: Positive
    kv_heads: Positive
    intermediate: Positive
    vocabulary: Positive | None = None
    positions: Positive = 2048
    tied: bool = True
    spread: Annotated[float, Field(gt=0)] = 0.02
    seed: Annotated[int, Field(ge=0)] = 0
    in_memory: bool = False


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class FourBit:
    """How bitsandbytes quantises when a base is loaded in 4 bits (Dettmers et al. 2023, 2305.14314).

    Attributes:
        kind: Spacing of the sixteen levels.
        double: Quantise the quantisation constants too.
        compute_dtype: Type that matrices are multiplied in.
    """

    kind: Literal["nf4", "fp4"] = "nf4"
    double: bool = True
    compute_dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class BaseSpec:
    """A base model: its source, its format, and how it is loaded.

    Attributes:
        name: Name of the settings file, and of the base in reports.
        format: `gguf` (converted once), `safetensors` (a model folder) or `random`.
        licence: Under which terms the weights may be used.
        asset: Where the weights come from; None for random ones.
        shape: Shape of random weights; None for fetched ones.
        dtype: Type of the loaded weights; `auto` is bfloat16 or float16 on a GPU and float32 on a CPU.
        device_map: accelerate's placement (`auto`, or one device); None puts everything on one device.
        load_in_4bit: Quantise while loading, with bitsandbytes, on a CUDA device.
        four_bit: How, when `load_in_4bit` is on.
        attention: Attention implementation of transformers.
    """

    name: Annotated[str, StringConstraints(pattern=r"\A[a-z0-9][a-z0-9_]*\z")]
    format: Literal["gguf", "safetensors", "random"]
    licence: str
    asset: Asset | None = None
    shape: RandomShape | None = None
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "auto"
    device_map: str | None = None
    load_in_4bit: bool = False
    four_bit: FourBit = FourBit()
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"

    @model_validator(mode="after")
    def _source_fits_format(self) -> Self:
        """Refuse a base that would be two things at once, or none."""
        if self.format == "random" and (self.shape is None or self.asset is not None):
            raise ValueError("format random needs a shape and no asset")
        if self.format != "random" and (self.asset is None or self.shape is not None):
            raise ValueError(f"format {self.format} needs an asset and no shape")
        return self


def known_models() -> tuple[str, ...]:
    """Return the names of the base models that `conf/model/` describes."""
    return tuple(sorted(path.stem for path in (conf_folder() / "model").glob("*.yaml")))


def read_spec(name: str) -> BaseSpec:
    """Return the base model that `conf/model/<name>.yaml` describes.

    Raises:
        Rejected: `settings-invalid` for an unknown name, key or value.
    """
    if name not in known_models():
        raise Rejected(
            "settings-invalid",
            subject=f"model {name!r}",
            expected=f"one of {', '.join(known_models())}",
            got="a name without a file in conf/model/",
            fix="use one of the known names, or give a BaseSpec of your own",
        )
    path = conf_folder() / "model" / f"{name}.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise Rejected(
            "settings-invalid",
            subject=str(path),
            expected="YAML",
            got=" ".join(str(error).split()),
            fix="correct the file at that place",
        ) from error
    return validated(BaseSpec, values, subject=str(path))
