"""The first thing a reader sees: which arm keeps how much of each risk, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

from compose.report import words
from compose.report.results import BROKEN_PERPLEXITY_RATIO, REMOVED_SHARE, Estimate, MetricValue
from compose.report.summary import ArmRow, Summary


@dataclass(frozen=True)
class Verdict:
    """One sentence, and the few that qualify it."""

    sentence: str
    details: tuple[str, ...]


def verdict(summary: Summary) -> Verdict:
    """Return what the runs say, the best arm by its weakest risk first."""
    ranked = [arm for arm in summary.contenders if arm.worst.value is not None]
    if sound := [arm for arm in ranked if not arm.broken]:
        return _of_contenders(summary, sound, [arm for arm in ranked if arm.broken])
    if ranked:
        return Verdict("Every arm broke the model; what looks safe here is not.", (_broken(ranked), *_base(summary)))
    if summary.contenders:
        return Verdict(
            "Nothing can be said about forgetting: there was no gain that could be kept.",
            (*_reservations(summary, summary.contenders[0]), *_base(summary)),
        )
    return _of_specialists(summary)


def _of_specialists(summary: Summary) -> Verdict:
    """Return what patches do that nothing is composed of here."""
    removed = {
        risk: share
        for risk, name in summary.specialists.items()
        if (share := summary.rows[name].metrics[risk].get(REMOVED_SHARE)) is not None and share.value is not None
    }
    if not removed:
        return Verdict("No arm combines the risks here, and no patch of one risk can be compared.", _base(summary))
    shares = words.listed(
        [
            f"{_kept(share)} of {summary.title(risk)}" + (": there is more" if share.value < 0 else "")
            for risk, share in removed.items()
            if share.value is not None
        ]
    )
    unclear = [
        f"On {summary.title(risk)} the interval holds zero."
        for risk, share in removed.items()
        if share.low is not None and share.low <= 0
    ]
    judges = {risk.name: risk.second_judge for risk in summary.risks}
    again = [
        f"By {judges[risk]}, which chose no pairs, it is {_kept(share)} of {summary.title(risk)}."
        for risk, name in summary.specialists.items()
        if (share := summary.rows[name].second.get(risk, {}).get(REMOVED_SHARE)) is not None and share.value is not None
    ]
    one = len(removed) == 1
    sentence = f"{'The patch removes' if one else 'Each for itself, the patches remove'} {shares}."
    return Verdict(sentence, (*unclear, *again, *_base(summary)))


def _of_contenders(summary: Summary, ranked: list[ArmRow], broken: list[ArmRow]) -> Verdict:
    best = ranked[0]
    least = best.worst.value or 0.0
    name = words.arm(best)
    share = words.percent(best.worst.value)
    gain = _gain(summary, best)
    if len(ranked) == 1:
        sentence = f"The one arm, {name}, keeps at least {share} of {gain}."
    elif least >= 0.5:
        sentence = f"Best of {len(ranked)} arms: {name}, which keeps at least {share} of {gain}."
    elif least > 0:
        sentence = f"None of {len(ranked)} arms keeps half of {gain}; the best, {name}, keeps at least {share}."
    else:
        sentence = f"Every one of {len(ranked)} arms loses all that was gained on some risk."
    left_out = (_broken(broken),) if broken else ()
    return Verdict(sentence, (*_details(summary, ranked), *left_out, *_reservations(summary, best), *_base(summary)))


def _broken(arms: list[ArmRow]) -> str:
    """Name the arms that are in no ranking, for a model that cannot read is safe for the wrong reason."""
    names = words.listed([words.arm(arm) for arm in arms])
    return f"Left out, with a perplexity above {BROKEN_PERPLEXITY_RATIO} times the base's: {names}."


def _gain(summary: Summary, arm: ArmRow) -> str:
    """Return what a share is a share of: every specialist's gain, or that of the risks with a clear one."""
    clear = [risk for risk, kept in arm.retention.items() if kept.value is not None and not kept.reason]
    if len(clear) == len(arm.retention) or not clear:
        return "every specialist's gain"
    titles = words.listed([summary.title(risk) for risk in clear])
    return f"the gain on {titles}, the only {'risk' if len(clear) == 1 else 'risks'} with a clear one"


def _details(summary: Summary, ranked: list[ArmRow]) -> list[str]:
    best = ranked[0]
    kept = [
        f"{_kept(estimate)} on {summary.title(risk)}"
        for risk, estimate in best.retention.items()
        if estimate.value is not None and not estimate.reason
    ]
    found = [f"It keeps {words.listed(kept)}."] if kept else []
    if len(ranked) > 1:
        second = ranked[1]
        if best.worst.low is not None and second.worst.value is not None:
            settled = best.worst.low > (second.worst.value if second.worst.high is None else second.worst.high)
            found.append(
                f"The next, {words.arm(second)}, keeps at least {words.percent(second.worst.value)}"
                + ("." if settled else ": too close to tell the two apart.")
            )
        last = ranked[-1]
        found.append(f"The last, {words.arm(last)}, ends at {words.percent(last.worst.value)} on its weakest risk.")
    joint = next((arm for arm in summary.arms if arm.final == summary.joint), None)
    if joint is not None and joint.worst.value is not None and not joint.broken:
        found.append(
            f"For comparison, one patch trained on all risks at once keeps at least {words.percent(joint.worst.value)}."
        )
    return found


def _kept(estimate: Estimate | MetricValue) -> str:
    interval = words.percent_between(estimate)
    return f"{words.percent(estimate.value)} ({interval})" if interval else words.percent(estimate.value)


def _reservations(summary: Summary, arm: ArmRow) -> list[str]:
    """Say for which risks retention is undefined or means little, and why."""
    return [
        f"Retention on {summary.title(risk)} {'is undefined' if kept.value is None else 'means little'}: {kept.reason}."
        for risk, kept in arm.retention.items()
        if kept.reason
    ]


def _base(summary: Summary) -> tuple[str, ...]:
    """Name the risks that the unpatched base hardly shows: they can neither be mitigated nor forgotten."""
    row = summary.rows[summary.base_name]
    return tuple(
        f"The unpatched base hardly shows {summary.title(risk)} (safety {words.number(safety.value)}), "
        "so little can be gained or lost there."
        for risk, safety in row.safety.items()
        if safety.value is not None and safety.value > 0.95
    )
