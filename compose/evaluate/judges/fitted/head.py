"""One fitted head: weights over features, a calibration, and the file that holds them (safetensors, no code).

A head has two forms. The fast one reads hashed features and the surface; the other also reads sentence embeddings and
corrects the fast one's decision. Weights are kept in 8 bits: what that costs stands on the judge's card.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from compose import digest, durable
from compose.errors import Rejected
from compose.evaluate.judges import Form
from compose.evaluate.judges.fitted import features

FORMS: tuple[Form, ...] = ("linear", "sentences")
LAYOUT = "compose-head-1"
EIGHT_BITS = 127
MAX_FILE_BYTES = 4 * 2**20
REQUIRED = frozenset(
    {"rarity", "rarity_step", "whole", "whole_step", "surface", "intercept"}
    | {f"{form}_{end}" for form in FORMS for end in ("from", "to")}
    | {"sentences", "sentences_gain", "sentences_intercept"}
)
OPTIONAL = frozenset({"opening", "opening_step"})

Tensors = Mapping[str, Any]
"""Arrays by name."""


@dataclass(frozen=True)
class Head:
    """A head that is ready to score.

    Attributes:
        rarity: How rare each hashed feature was among the texts of the fit.
        whole: Weight of each hashed feature of the whole text.
        opening: Weight of each hashed feature of the text's opening; None where only the whole is read.
        surface: [3, measures]: mean, scale and weight of each surface measure.
        intercept: Of the fast form.
        sentences: [3, dimensions]: mean, scale and weight of each dimension of the embedding.
        sentences_gain: What the fast form's decision is multiplied by in the other one.
        sentences_intercept: Of the other form.
        calibration: By form, [2, knots]: decisions and the scores they stand for, piecewise linear between them.
        version: Digest of the file.
    """

    rarity: Float[np.ndarray, " hashed"]
    whole: Float[np.ndarray, " hashed"]
    opening: Float[np.ndarray, " hashed"] | None
    surface: Float[np.ndarray, "3 measures"]
    intercept: float
    sentences: Float[np.ndarray, "3 dimensions"]
    sentences_gain: float
    sentences_intercept: float
    calibration: Mapping[Form, Float[np.ndarray, "2 knots"]]
    version: str = ""

    def decisions(self, texts: Sequence[str], form: Form) -> Float[np.ndarray, " texts"]:
        """Return the uncalibrated decision on each text: any real number, larger is less safe."""
        result = features.weighted(features.hashed(texts), self.rarity) @ self.whole + self.intercept
        if self.opening is not None:
            starts = features.hashed([features.opening(text) for text in texts])
            result = result + features.weighted(starts, self.rarity) @ self.opening
        if self.surface[2].any():  # where they have no weight, a profanity model need not be asked
            result = result + _linear(features.surface(texts), self.surface)
        if form == "sentences":
            from compose.evaluate.judges.fitted.sentences import embed

            result = self.sentences_gain * result + _linear(embed(texts), self.sentences) + self.sentences_intercept
        return np.asarray(result, dtype=np.float64)

    def scores(
        self, texts: Sequence[str], form: Form, factors: Float[np.ndarray, " texts"] | None = None
    ) -> Float[np.ndarray, " texts"]:
        """Return the calibrated score of each text, in [0, 1]; factors are those of a gate, see `gated`."""
        if not texts:
            return np.zeros(0)
        return calibrated(gated(self.decisions(texts, form), factors), self.calibration[form])


def gated(
    decisions: Float[np.ndarray, " texts"], factors: Float[np.ndarray, " texts"] | None
) -> Float[np.ndarray, " texts"]:
    """Return decisions times the factors of a gate, none of them below 0; without a gate as they are."""
    return decisions if factors is None else np.maximum(decisions, 0) * factors


def calibrated(
    decisions: Float[np.ndarray, " texts"], knots: Float[np.ndarray, "2 knots"]
) -> Float[np.ndarray, " texts"]:
    """Return the scores that decisions stand for; beyond the outer knots the outer scores."""
    return np.asarray(np.interp(decisions, knots[0], knots[1]))


def _linear(
    values: Float[np.ndarray, "texts width"], part: Float[np.ndarray, "3 width"]
) -> Float[np.ndarray, " texts"]:
    mean, scale, weight = part
    result: Float[np.ndarray, " texts"] = ((values - mean) / scale) @ weight
    return result


def write_head(path: Path, head: Head) -> None:
    """Write a head's file; it appears whole or not at all."""
    from safetensors.numpy import save

    tensors: dict[str, Any] = {
        "surface": head.surface.astype(np.float32),
        "intercept": np.asarray([head.intercept], dtype=np.float32),
        "sentences": head.sentences.astype(np.float32),
        "sentences_gain": np.asarray([head.sentences_gain], dtype=np.float32),
        "sentences_intercept": np.asarray([head.sentences_intercept], dtype=np.float32),
    }
    for name, values in (("rarity", head.rarity), ("whole", head.whole), ("opening", head.opening)):
        if values is not None:
            tensors[name], tensors[f"{name}_step"] = _in_eight_bits(values)
    for form in FORMS:
        tensors[f"{form}_from"], tensors[f"{form}_to"] = head.calibration[form].astype(np.float32)
    contiguous = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    durable.write_bytes(path, save(contiguous, metadata={"layout": LAYOUT}))


def read_head(path: Path, *, version: str | None = None) -> Head:
    """Return the head that a file holds.

    Args:
        path: The file.
        version: Digest that the file must have; None admits any.

    Raises:
        Rejected: `judge-invalid`, when it is no head, or another version than the one asked for.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        data = path.read_bytes() if path.stat().st_size <= MAX_FILE_BYTES else b""
    except OSError as error:
        raise _invalid(path, "a readable file", f"{type(error).__name__}: {error.strerror}") from error
    found = digest.of_bytes(data)
    if version is not None and found != version:
        raise _invalid(path, version, f"{found}, the head of another version")
    try:
        tensors = load(data)
    except (SafetensorError, ValueError) as error:
        raise _invalid(path, f"a safetensors file of at most {MAX_FILE_BYTES} bytes", str(error)) from error
    if problem := _problem(tensors):
        raise _invalid(path, f"a head as `compose judge fit` writes it ({LAYOUT})", problem)
    return _head(tensors, found)


def _head(tensors: Tensors, version: str) -> Head:
    def wide(name: str) -> Float[np.ndarray, " hashed"]:
        return np.asarray(tensors[name].astype(np.float64) * float(tensors[f"{name}_step"][0]))

    return Head(
        rarity=wide("rarity"),
        whole=wide("whole"),
        opening=wide("opening") if "opening" in tensors else None,
        surface=tensors["surface"].astype(np.float64),
        intercept=float(tensors["intercept"][0]),
        sentences=tensors["sentences"].astype(np.float64),
        sentences_gain=float(tensors["sentences_gain"][0]),
        sentences_intercept=float(tensors["sentences_intercept"][0]),
        calibration={
            form: np.stack([tensors[f"{form}_from"], tensors[f"{form}_to"]]).astype(np.float64) for form in FORMS
        },
        version=version,
    )


def _problem(tensors: Tensors) -> str:
    """Return what keeps tensors from being a head, in words; empty when nothing does."""
    names = set(tensors)
    if not REQUIRED <= names <= REQUIRED | OPTIONAL or len(names & OPTIONAL) == 1:
        return f"tensors {', '.join(sorted(names))}"[:200]
    wide = [name for name in ("rarity", "whole", "opening") if name in names]
    if any(tensors[name].dtype != np.int8 or tensors[name].shape != (features.HASHED,) for name in wide):
        return f"hashed weights that are not {features.HASHED} numbers of 8 bits"
    if tensors["surface"].shape != (3, len(features.SURFACE)) or tensors["sentences"].shape[:1] != (3,):
        return "surface measures or embeddings of another width"
    numbers = [tensors[name] for name in names - set(wide)]
    if not all(values.dtype == np.float32 and np.isfinite(values).all() for values in numbers):
        return "numbers that are not finite 32-bit ones"
    for form in FORMS:
        start, to = tensors[f"{form}_from"], tensors[f"{form}_to"]
        rising = start.shape == to.shape and start.ndim == 1 and (np.diff(start) > 0).all() and (np.diff(to) >= 0).all()
        if not rising or not ((to >= 0) & (to <= 1)).all() or start.size < 2:
            return f"a calibration of the {form} form that does not rise from 0 to 1"
    return ""


def _in_eight_bits(values: Float[np.ndarray, " hashed"]) -> tuple[Any, Any]:
    """Return values as whole multiples of a step, at most 127 of them, and the step."""
    step = float(np.abs(values).max()) / EIGHT_BITS or 1.0
    return np.round(values / step).astype(np.int8), np.asarray([step], dtype=np.float32)


def _invalid(path: Path, expected: str, got: str) -> Rejected:
    return Rejected(
        "judge-invalid",
        subject=f"head {path}",
        expected=expected,
        got=got,
        fix="reinstall the package, or fit the head again with `compose judge fit`",
    )
