"""A folder of keys, one for each role, and a clock that stands still until a test moves it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from compose.trust.keyring import ROLES, Role
from compose.trust.keys import load_signer, new_key

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)

SignerOf = Callable[[Role], CryptoSigner]


@pytest.fixture
def now() -> datetime:
    """The moment at which the keys of `keys` were made."""
    return NOON


@pytest.fixture
def keys(tmp_path: Path, now: datetime) -> Path:
    """A folder with one key a role, each named like its role and valid for 100 days."""
    for role in ROLES:
        new_key(tmp_path / "keys", role, role, now=now, days=100)
    return tmp_path / "keys"


@pytest.fixture
def signer_of(keys: Path, now: datetime) -> SignerOf:
    """Return a function from a role to the signer of its key."""
    return lambda role: load_signer(keys, role, role, now=now)
