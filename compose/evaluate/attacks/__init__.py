"""Attacks: how much a patched model withstands of someone who tries, with a counted number of queries.

Replayed prompts were found against other models and are easier to withstand than new ones. These attacks are run
against the model itself, patch and all, on the same requests and with the same budget as against the unpatched base.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Protocol, TypeAlias

from pydantic import Field

from compose.evaluate.attacks.gcg import Gcg
from compose.evaluate.attacks.pair import Pair
from compose.evaluate.attacks.target import Target

__all__ = ["ATTACKS", "Attack", "AttackSettings", "Target"]


class Attack(Protocol):
    """Attacks one request at a time. `version` changes whenever it could ask other questions."""

    @property
    def name(self) -> str:
        """Its name in `ATTACKS`."""
        ...

    @property
    def version(self) -> str:
        """What identifies the method and whatever stands behind its choices."""
        ...

    def run(self, target: Target) -> None:
        """Attack until a reply is unsafe or the budget is spent; everything asked stays with the target."""
        ...


ATTACKS: Mapping[str, type[Gcg] | type[Pair]] = MappingProxyType({"gcg": Gcg, "pair": Pair})
"""Settings of every attack by name: the registry."""

AttackSettings: TypeAlias = Annotated[Gcg | Pair, Field(discriminator="kind")]
"""Settings of any attack; records say which with the key `kind`."""
