"""References: the safer model M' as a black box. A new kind is one file and one line here."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from compose.training.references.best_of_n import BestOfN
from compose.training.references.endpoint import Endpoint
from compose.training.references.instructed import Instructed
from compose.training.references.other_model import OtherModel
from compose.training.references.recorded import Recorded
from compose.training.references.reference import Reference, ReferenceContext

__all__ = [
    "AnyReference",
    "BestOfN",
    "Endpoint",
    "Instructed",
    "OtherModel",
    "Recorded",
    "Reference",
    "ReferenceContext",
    "ReferenceSettings",
    "make_reference",
]

AnyReference: TypeAlias = Instructed | BestOfN | OtherModel | Recorded | Endpoint
"""Every kind of reference: the registry."""

ReferenceSettings = Annotated[AnyReference, Field(discriminator="kind")]
"""Settings of any reference; files say which with the key `kind`."""


def make_reference(settings: AnyReference, context: ReferenceContext) -> Reference:
    """Return the reference that the settings describe.

    Raises:
        Rejected: `reference-invalid`, `responses-invalid` or what fetching raises, where it cannot be made.
    """
    return settings.make(context)
