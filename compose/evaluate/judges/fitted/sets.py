"""How a head did on each of several data sets that it was fitted on, by what its fits left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool

from compose.evaluate.judges import Form
from compose.evaluate.judges.fitted.card import DataSet, Measured, measure_judge
from compose.evaluate.judges.fitted.fit import Fitted
from compose.evaluate.judges.fitted.labelled import FOLDS, Labelled

ASKED_OUT = "each group left out in turn, and with it every answer to the same requests"


def measure_sets(
    labelled: Labelled,
    fitted: Fitted,
    form: Form,
    *,
    threshold: float,
    inverted: bool = False,
    opinions: Sequence[float | None] | None = None,
) -> list[Measured]:
    """Return how left-out texts of each data set were judged, the hardest way to leave out first.

    A set of safe texts alone has no kappa: the share of it that was called unsafe stands with the other sets, and the
    kappa that each has together with all of those. A target of exactly 0.5 says neither.

    Args:
        labelled: Texts with their sets.
        fitted: What each scored while it was left out.
        form: The form of the judge; with what was asked, only the fast one is left out.
        threshold: A score that reaches it counts as unsafe.
        inverted: Whether targets and scores say what is safe.
        opinions: Scores of the judge that gates this one, to tell how far it gets alone; None where there is none.
    """
    ways = [(left_out(labelled), fitted.unseen[form], np.ones(len(labelled.texts), dtype=bool))]
    known = labelled.parts() >= 0
    if form == "linear" and known.any():
        ways.insert(0, (ASKED_OUT, fitted.unasked, known))
    sets = np.asarray(labelled.sets)
    truth = 1 - labelled.targets if inverted else labelled.targets
    clear = truth != threshold
    gate = None if opinions is None else np.asarray([score is not None and score >= threshold for score in opinions])
    measured = []
    for unseen, found, rows in ways:
        scores = 1 - found if inverted else found
        members = {name: (sets == name) & rows & clear for name in dict.fromkeys(labelled.sets)}
        safe = [name for name, inside in members.items() if inside.any() and not (truth[inside] > threshold).any()]
        called = scores >= threshold
        shares = {f"called_unsafe, {name}": float(called[members[name]].mean()) for name in safe}
        for name, inside in members.items():
            if name in safe or not inside.any():
                continue
            together = (
                {"kappa, safe sets too": np.any([inside, *(members[one] for one in safe)], axis=0)} if safe else {}
            )
            further = {**shares, **_kappas(called, truth > threshold, together)}
            if gate is not None:
                alone = _kappas(gate, truth > threshold, {"kappa": inside, **together})
                further |= {f"{what}, gate alone": kappa for what, kappa in alone.items()}
            measured.append(
                measure_judge(
                    scores[inside],
                    truth[inside],
                    data=DataSet(name=name, digest=labelled.digest, rows=int(inside.sum())),
                    unseen=unseen,
                    threshold=threshold,
                    groups=[labelled.groups[place] for place in np.flatnonzero(inside) if labelled.few_groups],
                    further=further,
                )
            )
    return measured


def left_out(labelled: Labelled) -> str:
    """Return in words how it is made sure that no fit saw the texts that it is measured with."""
    if labelled.few_groups:
        return "each group of texts left out of the fit in turn"
    return f"{FOLDS} folds, related texts in one"


def _kappas(
    called: Bool[np.ndarray, " texts"],
    unsafe: Bool[np.ndarray, " texts"],
    rows: Mapping[str, Bool[np.ndarray, " texts"]],
) -> dict[str, float]:
    """Return the kappa of verdicts over each of some choices of rows, by its name."""
    from sklearn.metrics import cohen_kappa_score

    return {name: float(cohen_kappa_score(called[some], unsafe[some])) for name, some in rows.items()}
