"""A folder of keys, one for each role, a clock that stands still until a test moves it, and a store of patches."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from compose import artifact
from compose.artifact import Patch
from compose.trust.keyring import ROLES, Role
from compose.trust.keys import load_signer, new_key
from compose.trust.store import Store, Stored
from tests.unit.trust.shop import NOON, Shop, open_shop

SignerOf = Callable[[Role], CryptoSigner]
Put = Callable[..., Stored]


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


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def put(store: Store, make_patch: Callable[..., Patch], tmp_path: Path) -> Put:
    """Return a function that puts a patch of this name, version and rows into the store."""
    made = iter(range(1000))

    def put(name: str, version: str = "1.0.0", rows: Any = None, **fields: Any) -> Stored:
        number = next(made)
        patch = make_patch(rows or [[1.0, 2.0], [3.0, float(number)]], name=name, version=version, **fields)
        return store.put(artifact.save(patch, tmp_path / f"patch-{number}"))

    return put


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A maintainer with an empty channel."""
    return open_shop(tmp_path)
