"""Suites: what `compose evaluate` measures a patch on, and the record whose every number can be made again.

A suite is settings (`conf/suite/`): risks with their prompts and judges, a second judge beside each, utility, a model
that judges fluency. `record` makes numbers of stored rows alone, so that whoever has the rows can check them.
"""

from __future__ import annotations

from compose.evaluate.suites.load import Suite, load_suite
from compose.evaluate.suites.spec import SuiteSpec

__all__ = ["Suite", "SuiteSpec", "load_suite"]
