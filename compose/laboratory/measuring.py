"""Measurements kept by content: what was measured once, by any job, is not measured again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Float
from pydantic import TypeAdapter
from torch import Tensor

from compose import durable
from compose.artifact import prefix_digest
from compose.base import Base, arithmetic, stop_ids
from compose.digest import of_json
from compose.evaluate.results import Measurement
from compose.evaluate.risks import Risk, RiskSpec
from compose.evaluate.run import measure
from compose.evaluate.utility import Utility, UtilitySpec
from compose.progress import bar

MEASURE_SCHEMA = 3
"""Raised when a change of the code makes the same model measure differently: no old number is then used."""

Prefixes = Mapping[str, Float[Tensor, "tokens dim"] | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Yardstick:
    """What compositions are measured on.

    Args:
        base: The frozen base.
        risks: Every risk.
        utility: The utility measures; None leaves them out.
        seed: Seed of all sampling noise.
        samples: Completions a prompt instead of what each risk says; None keeps to the risks.
        together: Compositions measured in one pass: more are faster, fewer lose less to an interruption.
    """

    base: Base
    risks: Sequence[Risk]
    utility: Utility | None
    seed: int
    samples: int | None = None
    together: int = 4

    def lighter(self, prompts: int, samples: int | None) -> Yardstick:
        """Return a coarser yardstick for curves: the first test prompts (a fair sample), no utility."""
        risks = [dataclasses.replace(risk, test=risk.test[:prompts]) for risk in self.risks]
        return dataclasses.replace(self, risks=risks, utility=None, samples=samples)

    def key(self, prefix: Float[Tensor, "tokens dim"] | None) -> str:
        """Return the name of a composition's measurement: everything that it depends on."""
        claim = {
            "schema": MEASURE_SCHEMA,
            "base": [self.base.fingerprint, *arithmetic(self.base), sorted(stop_ids(self.base))],
            "prefix": None if prefix is None else prefix_digest(prefix),
            "risks": [_risk_claim(risk) for risk in self.risks],
            "utility": None if self.utility is None else _utility_claim(self.utility),
            "seed": self.seed,
            "samples": self.samples,
        }
        return of_json(claim).removeprefix("sha256:")


def measured(prefixes: Prefixes, yardstick: Yardstick, folder: Path, label: str) -> dict[str, Measurement]:
    """Return the measurement of every composition by name, from the folder or measured now.

    Finished compositions are kept as they come, so an interruption loses one pass at most.

    Args:
        prefixes: Compositions by name; None is the unpatched base.
        yardstick: What they are measured on.
        folder: Where measurements are kept.
        label: What the progress bar says.

    Raises:
        Rejected: `judge-silent`, `disk-full` or `read-only`.
    """
    keys = {name: yardstick.key(prefix) for name, prefix in prefixes.items()}
    found = {key: known for key in set(keys.values()) if (known := _read(folder / f"{key}.json")) is not None}
    missing = {key: prefixes[name] for name, key in keys.items() if key not in found}
    if missing:
        with bar(len(missing), label, unit="composition") as progress:
            for part in _parts(list(missing), yardstick.together):
                fresh = measure(
                    yardstick.base,
                    {key: missing[key] for key in part},
                    yardstick.risks,
                    yardstick.utility,
                    seed=yardstick.seed,
                    samples=yardstick.samples,
                )
                for key, measurement in fresh.items():
                    durable.write_json(folder / f"{key}.json", measurement.to_json())
                found |= fresh
                progress.update(len(part))
    return {name: found[key] for name, key in keys.items()}


def _parts(keys: list[str], size: int) -> list[list[str]]:
    """Return the keys in runs of at most `size`."""
    return [keys[start : start + size] for start in range(0, len(keys), size)]


def _read(path: Path) -> Measurement | None:
    """Return a kept measurement; None when there is none, or a damaged one, or one that counts silence as safe.

    Either costs one more. Judges once gave empty completions a score: a measurement without any is the same today.
    """
    try:
        kept = Measurement.from_json(json.loads(path.read_bytes()))
        records = [*kept.utility_records, *(record for risk in kept.risks.values() for record in risk.records)]
        scored_silence = any(one["score"] is not None and not one["completion"].strip() for one in records)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return None if scored_silence else kept


def _risk_claim(risk: Risk) -> dict[str, Any]:
    """Return what a risk's numbers depend on."""
    spec = TypeAdapter(RiskSpec).dump_python(risk.spec, mode="json")
    judging = {name: spec[name] for name in ("name", "kind", "samples", "sampling", "chat", "threshold", "by_group")}
    return {**judging, "judge": [risk.judge.name, risk.judge.version], "prompts": risk.test_digest}


def _utility_claim(utility: Utility) -> dict[str, Any]:
    """Return what the utilities depend on."""
    spec = TypeAdapter(UtilitySpec).dump_python(utility.spec, mode="json")
    judge = [utility.judge.name, utility.judge.version]
    measuring = {name: spec[name] for name in ("max_tokens", "sampling")}
    return {**measuring, "judge": judge, "prompts": utility.test_digest}
