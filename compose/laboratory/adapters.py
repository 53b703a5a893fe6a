"""LoRA beside the patches of a job: taught by the same rows in the same steps, measured with the same noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from compose.digest import of_json
from compose.laboratory.baselines import Baseline
from compose.laboratory.folders import Folders
from compose.laboratory.measuring import Yardstick, measured
from compose.laboratory.realise import Realiser
from compose.progress import bar
from compose.strategies import TrainStage
from compose.training.lora import LoraSettings, train_lora
from compose.training.stage import Phase


def measure_loras(
    ranks: Sequence[int],
    lora: LoraSettings,
    specialists: Mapping[str, TrainStage],
    realiser: Realiser,
    yardstick: Yardstick,
    folders: Folders,
) -> dict[str, Baseline]:
    """Return one adapter for each risk and rank, trained and measured where it is not kept from before.

    Args:
        ranks: Ranks of the adapters.
        lora: What LoRA has and a prompt has not.
        specialists: By risk, the stage whose rows and steps the adapter takes.
        realiser: Who trained these stages.
        yardstick: What they were measured on.
        folders: Where adapters and measurements are kept.

    Raises:
        Rejected: What training and measuring refuse.
    """
    found = {}
    for risk, stage in specialists.items():
        for rank in ranks:
            name = f"lora-r{rank}-{risk}"
            found[name] = _one(name, rank, lora, stage, realiser, yardstick, folders)
    return found


def _one(
    name: str,
    rank: int,
    lora: LoraSettings,
    stage: TrainStage,
    realiser: Realiser,
    yardstick: Yardstick,
    folders: Folders,
) -> Baseline:
    """Return one adapter, trained and measured. Its merged copy of the base is dropped with it."""
    teaching = realiser.teaching
    settings = teaching.settings_of(stage)
    key = of_json([teaching.key(stage), rank, asdict(lora)]).removeprefix("sha256:")
    with bar(settings.steps_of("sft") + settings.steps_of("dpo"), f"train {name}", unit="step") as progress:

        def on_step(_: Phase, __: int) -> None:
            progress.update(1)

        trained = train_lora(
            teaching.base,
            realiser.rows(stage, settings),
            settings,
            rank=rank,
            seed=teaching.seed,
            out=folders.adapters / key,
            lora=lora,
            anchors=teaching.anchors.anchors if teaching.anchors else (),
            references=realiser.shelf.references,
            on_step=on_step,
        )
    own = replace(yardstick, base=trained.base)
    facts = trained.facts
    return Baseline(
        label=f"LoRA r{rank}, {stage.risks[0]}",
        measurement=measured({name: None}, own, folders.measurements, f"measure {name}")[name],
        cost={
            "parameters": facts.parameters,
            "train_seconds": facts.seconds,
            "artifact_bytes": facts.artifact_bytes,
        },
    )
