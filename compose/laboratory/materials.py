"""What a job works with before anything is trained: the base, the risks, the pairs, the anchors."""

from __future__ import annotations

from dataclasses import dataclass

from compose.base import Base, load_base
from compose.evaluate.judges import Judge
from compose.evaluate.risks import Risk, load_risk, make_second_judges, refuse_shared_prompts
from compose.evaluate.utility import Utility, load_utility
from compose.laboratory.baselines import INSTRUCTED, REFERENCE, Baselines, instructed
from compose.laboratory.folders import Folders
from compose.laboratory.spec import ExperimentSettings
from compose.training.anchors import AnchorSet, make_anchors
from compose.training.build import PairTask, build_pairs
from compose.training.pairs import PairSet
from compose.training.references import Reference, ReferenceContext, make_reference
from compose.training.sampling_cache import GenerationStore


@dataclass(frozen=True, kw_only=True)
class Materials:
    """Everything that training and measuring need.

    Args:
        base: The frozen base.
        risks: The risks in the experiment's order, screened.
        second: By risk, the second judge.
        utility: The utility measures; None leaves them out.
        pairs: The pairs of each risk.
        baselines: What patches are compared with beside the base.
        anchors: Texts on which a patch stays near the base; None for none.
    """

    base: Base
    risks: tuple[Risk, ...]
    second: dict[str, Judge]
    utility: Utility | None
    pairs: dict[str, PairSet]
    baselines: Baselines
    anchors: AnchorSet | None


def gather(settings: ExperimentSettings, folders: Folders) -> Materials:
    """Return the job's materials, fetched, screened and generated where they are not at hand yet.

    The pairs are written to the run's folder; generations are kept for every later job.

    Raises:
        Rejected: What fetching, screening, the references or the pair filters refuse.
    """
    base = load_base(settings.model, device=settings.device)
    risks = tuple(load_risk(settings.risks[name], base) for name in settings.order)
    refuse_shared_prompts(risks)
    utility = None if settings.utility is None else load_utility(settings.utility)
    chosen = {name: judge for name, judge in settings.evaluation.second_judges.items() if name in settings.order}
    second = make_second_judges(chosen)
    store = GenerationStore(folders.samples)
    # Every reference is made before the first pair: what is wrong with the last should not cost the others' time.
    contexts = {risk.name: ReferenceContext(base=base, judge=risk.judge, store=store) for risk in risks}
    references = {name: _reference(settings, name, context) for name, context in contexts.items()}
    pairs = {risk.name: _pairs(settings, base, risk, references[risk.name], store) for risk in risks}
    anchors = None
    if settings.trainer.anchor_weight and utility is not None:
        anchors = make_anchors(
            base,
            utility.benign_train,
            utility.neutral_train,
            max_new_tokens=settings.anchors.max_new_tokens,
            max_tokens=settings.anchors.max_tokens,
            store=store,
        )
    for name, made in pairs.items():
        made.save(folders.pairs / f"{name}.jsonl")
    baselines: dict[str, dict[str, Reference]] = {}
    if settings.baselines.instructions is not None:
        baselines[INSTRUCTED] = instructed(settings.baselines.instructions, contexts)
    if settings.baselines.reference:
        baselines[REFERENCE] = references
    return Materials(
        base=base, risks=risks, second=second, utility=utility, pairs=pairs, baselines=baselines, anchors=anchors
    )


def _reference(settings: ExperimentSettings, risk: str, context: ReferenceContext) -> Reference:
    """Return the reference that one risk is taught by."""
    return make_reference(settings.reference or settings.lessons[risk].reference, context)


def _pairs(
    settings: ExperimentSettings, base: Base, risk: Risk, reference: Reference, store: GenerationStore
) -> PairSet:
    """Return one risk's pairs."""
    lesson = settings.lessons[risk.name]
    return build_pairs(
        base,
        reference,
        PairTask(risk=risk.name, prompts=risk.train, judge=risk.judge),
        lesson.pairs,
        seed=settings.pairs_seed,
        store=store,
    )
