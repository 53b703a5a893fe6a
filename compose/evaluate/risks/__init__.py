"""Risks: settings, prompts that do not overlap, screening, and the metrics of each kind.

`load_risk(spec, base)` gives a `Risk` ready to be measured; `RISK_KINDS` is the closed list of kinds.
"""

from __future__ import annotations

from compose.evaluate.risks.kinds import RISK_KINDS, RiskKind
from compose.evaluate.risks.load import Risk, load_risk, refuse_shared_prompts
from compose.evaluate.risks.screen import Screening
from compose.evaluate.risks.second import judged_again, make_second_judges, second_judge_faults
from compose.evaluate.risks.spec import RiskSpec, Screen

__all__ = [
    "RISK_KINDS",
    "Risk",
    "RiskKind",
    "RiskSpec",
    "Screen",
    "Screening",
    "judged_again",
    "load_risk",
    "make_second_judges",
    "refuse_shared_prompts",
    "second_judge_faults",
]
