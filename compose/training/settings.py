"""Settings of one training stage: which phases, how many steps, which rates, which DPO reference."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from compose.records import SETTINGS

Steps = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, kw_only=True, config=SETTINGS)
class TrainSettings:
    """How a patch is trained: SFT on the reference's outputs, then DPO on pairs (arXiv 2511.08484, sections 3.2-3.3).

    Args:
        phases: Which phases run, in this order.
        sft_steps: Optimiser steps of SFT.
        dpo_steps: Optimiser steps of DPO.
        batch_size: Pairs a step, over all processes that train together.
        sft_lr: Peak learning rate of SFT. Prompts need about a tenth of the root mean square of the base's embeddings
            as its layers see them (SmolLM2 .12, Gemma-3 1.03), far above the defaults for weights.
        dpo_lr: Peak learning rate of DPO.
        beta: DPO's inverse temperature.
        dpo_reference: Whose log-probabilities DPO subtracts: the unpatched base, the patch after SFT, or the patch
            this stage started from.
        dpo_sft_weight: Weight of an added cross-entropy on the chosen completion (0: plain DPO).
        anchor_weight: Weight of an added mean KL(base || patched) on anchors, in every phase; 0 trains without.
        anchor_rows: Anchors a step, over all processes that train together.
        warmup: Share of a phase's steps over which the rate rises; it then falls on a cosine.
        max_grad_norm: Gradients are clipped to this norm.
        snapshots: How many prefixes to keep on the way, spread evenly, for curves inside the stage.
        checkpoint_every: Steps between checkpoints from which an interrupted phase resumes.
        precision: "float32", or autocast to "bfloat16".
    """

    phases: Literal["sft", "dpo", "sft+dpo"] = "sft+dpo"
    sft_steps: Steps = 4
    dpo_steps: Steps = 40
    batch_size: Annotated[int, Field(gt=0)] = 8
    sft_lr: Rate = 1e-2
    dpo_lr: Rate = 1e-2
    beta: Annotated[float, Field(gt=0)] = 0.1
    dpo_reference: Literal["base", "sft", "previous"] = "base"
    dpo_sft_weight: Annotated[float, Field(ge=0)] = 0.0
    anchor_weight: Annotated[float, Field(ge=0)] = 0.5
    anchor_rows: Annotated[int, Field(gt=0)] = 2
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    snapshots: Annotated[int, Field(ge=0)] = 3
    checkpoint_every: Annotated[int, Field(gt=0)] = 20
    precision: Literal["float32", "bfloat16"] = "float32"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.phases == "dpo" and self.dpo_reference == "sft":
            raise ValueError("dpo_reference=sft needs an SFT phase: set phases=sft+dpo, or another dpo_reference")
        if self.steps_of("sft") + self.steps_of("dpo") == 0:
            raise ValueError("no step would be trained: set sft_steps or dpo_steps above 0")
        return self

    def steps_of(self, phase: Literal["sft", "dpo"]) -> int:
        """Return how many steps a phase has under these settings; 0 when it does not run."""
        if phase not in self.phases:
            return 0
        return self.sft_steps if phase == "sft" else self.dpo_steps

    def deciding(self) -> dict[str, Any]:
        """Return the settings that decide the result: how often it is checkpointed does not."""
        values = asdict(self)
        del values["checkpoint_every"]
        return values

    @property
    def pairs_needed(self) -> int:
        """How many pairs the longest phase consumes."""
        return max(self.steps_of("sft"), self.steps_of("dpo")) * self.batch_size
