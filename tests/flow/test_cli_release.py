"""compose release and compose audit, with the full check: what is proven goes out, and nothing else does."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from compose import durable
from compose.cli import main
from compose.errors import Rejected
from compose.trust.applying import verify
from compose.trust.authorship import signature_of
from compose.trust.claims import Lock, lock_digest
from compose.trust.clock import instant
from compose.trust.evidence import PAYLOAD_TYPE, gate_name, statement_bytes, statement_of
from compose.trust.gates import decide
from compose.trust.keyring import ROLES
from compose.trust.keys import load_signer, new_key, revoke_key, rotate_key
from compose.trust.lockfile import write_lock_file
from compose.trust.seal import seal
from compose.trust.store import Store
from tests.unit.trust.cases import N, folder_of, locked, measurement, members, pins
from tests.unit.trust.measurements import series

CHANNEL = ["--channel", "channel"]


class Desk:
    """A maintainer's folder: a store of signed patches, keys of two hours ago, the suites they vouch for, and locks."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.started = datetime.now(UTC) - timedelta(hours=2)
        for role in ROLES:
            new_key(root / "keys", role, role, now=self.started)
        durable.write_text(root / "keys" / "suites.json", pins().model_dump_json())
        self.held = members()
        for number, one in enumerate(self.held):
            stored = Store(root / "store").put(folder_of(one, root / f"patch-{number}"))
            author = load_signer(root / "keys", "author", "author", now=self.started)
            Store(root / "store").sign(stored, signature_of(stored.locked, author))

    def lock(self, version: str = "1.0.0") -> Lock:
        """Return a lock of the patches, which is in compose.lock afterwards."""
        lock = locked(self.held, version=version)
        write_lock_file(self.root / "compose.lock", lock)
        return lock

    def measure(self, lock: Lock, **changes: Any) -> None:
        """Write evidence about a lock, of an hour ago, to evidence.json."""
        found = measurement(lock, made=instant(self.started + timedelta(hours=1)), **changes)
        passed = {
            gate_name(gate): all(one.verdict == "passed" for one in decide(gate, found, lock.patches))
            for gate in lock.gates
        }
        statement = statement_of(lock_digest(lock), f"{lock.name} {lock.version}", passed, found)
        evaluator = load_signer(self.root / "keys", "evaluator", "evaluator", now=self.started)
        durable.write_bytes(self.root / "evidence.json", seal(statement_bytes(statement), PAYLOAD_TYPE, evaluator))

    def release(self, version: str = "1.0.0") -> int:
        self.measure(self.lock(version))
        return main(["release", "compose.lock", "--evidence", "evidence.json", *CHANNEL])


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Stand in a maintainer's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COMPOSE_KEY_PASSPHRASE", raising=False)
    monkeypatch.setenv("COMPOSE_STATE", str(tmp_path / "state"))
    return Desk(tmp_path)


def test_what_is_proven_is_released_rolled_back_and_audited(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.release("1.0.0") == 0
    printed = capsys.readouterr().out
    assert "allow: both 1.0.0" in printed
    assert "release both 1.0.0" in printed
    assert desk.release("1.1.0") == 0
    assert main(["rollback", "both", "1.0.0", "--reason", "1.1.0 is slow", *CHANNEL]) == 0
    assert main(["yank", "both", "1.1.0", "--reason", "1.1.0 is slow", *CHANNEL]) == 0
    capsys.readouterr()

    assert main(["current", "both", *CHANNEL]) == 0
    assert "both 1.0.0" in capsys.readouterr().out
    assert main(["audit", *CHANNEL]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "sound  both 1.0.0 (current)",
        "sound  both 1.1.0 (yanked)",
        "2 releases, 0 unsound",
    ]


def test_nothing_is_released_without_evidence(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.lock()

    assert main(["release", "compose.lock", *CHANNEL]) == 1
    printed = capsys.readouterr().out
    assert "evidence-missing" in printed
    assert printed.endswith("nothing was released\n")
    assert not Path("channel").exists()


def test_nothing_is_released_that_its_evidence_denies(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    lock = desk.lock()
    ids = {one.name: one.digest for one in lock.patches}
    toxic = series((1.0,) * N).model_copy(update={"members": dict.fromkeys(ids, (0.0,) * N)})
    whole = measurement(lock)
    desk.measure(lock, series=(toxic, *whole.series[1:]))

    assert main(["release", "compose.lock", "--evidence", "evidence.json", *CHANNEL]) == 1
    assert "gate-failed" in capsys.readouterr().out
    assert not Path("channel").exists()


def test_evidence_about_another_version_releases_nothing(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.measure(desk.lock("1.0.0"))
    desk.lock("1.1.0")

    assert main(["release", "compose.lock", "--evidence", "evidence.json", *CHANNEL]) == 1
    assert "evidence-other-lock" in capsys.readouterr().out


def test_an_audit_denies_what_a_revoked_evaluator_measured(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.release() == 0
    revoke_key(desk.root / "keys", "evaluator", now=datetime.now(UTC), reason="made numbers up")
    capsys.readouterr()

    assert main(["audit", "both", *CHANNEL]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("UNSOUND  both 1.0.0 (current)")
    assert "key-revoked" in printed
    assert "made numbers up" in printed


def test_a_release_keeps_the_signatures_of_authors_for_everyone_who_checks(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.release("1.0.0") == 0
    for signature in Path("store").rglob("signature.json"):
        signature.unlink()
    assert desk.release("1.1.0") == 0
    assert "warning patch-unsigned: patch tox 1.0.0" in capsys.readouterr().out
    assert main(["keys", "export", "--out", "public.json"]) == 0
    assert main(["keys", "import", "public.json", "--keys", "theirs"]) == 0
    durable.write_bytes(Path("theirs/suites.json"), Path("keys/suites.json").read_bytes())
    assert main(["keys", "pin", "author", "tox", "--keys", "theirs"]) == 0
    capsys.readouterr()

    assert main(["audit", "--keys", "theirs", *CHANNEL]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "sound  both 1.0.0 (released)",
        "UNSOUND  both 1.1.0 (current)",
        "  error patch-unsigned: patch tox 1.0.0: no signature",
        "  warning patch-unsigned: patch bias 1.0.0: no signature",
        "2 releases, 1 unsound",
    ]
    with pytest.raises(Rejected, match="patch-unsigned: patch tox") as refused:
        verify("channel", "both", keys=Path("theirs"), now=datetime.now(UTC))
    assert refused.value.code == "release-denied"

    revoke_key(desk.root / "keys", "author", now=datetime.now(UTC), reason="laptop stolen")
    assert main(["audit", *CHANNEL]) == 1
    assert "error key-revoked: patch bias 1.0.0" in capsys.readouterr().out


def test_a_rotated_releaser_takes_the_channel_over(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.release() == 0
    assert main(["current", "both", *CHANNEL]) == 0
    rotate_key(desk.root / "keys", "releaser", now=datetime.now(UTC))
    assert main(["release", "--renew", *CHANNEL]) == 0
    assert "version 2" in capsys.readouterr().out

    assert main(["current", "both", *CHANNEL]) == 0
    roots = [json.loads(path.read_text())["signed"]["version"] for path in Path("channel/metadata").glob("*.root.json")]
    assert sorted(roots) == [1, 2]


def test_where_it_takes_two_releasers_nothing_counts_before_both_have_signed(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    new_key(desk.root / "keys", "second", "releaser", now=desk.started)
    assert main(["keys", "threshold", "2"]) == 0
    assert main(["keys", "list"]) == 0
    assert capsys.readouterr().out.endswith("channels: signed by 2 releasers\n")
    desk.measure(desk.lock())
    release = ["release", "compose.lock", "--evidence", "evidence.json", "--key", "releaser", *CHANNEL]
    assert main(release) == 0
    printed = capsys.readouterr().out
    assert "releasers who must sign it too: 1" in printed
    assert "compose release --cosign --channel channel" in printed
    assert main(["current", "both", *CHANNEL]) == 2
    capsys.readouterr()

    assert main(["release", "--waiting", *CHANNEL]) == 0
    looked = capsys.readouterr().out
    assert "release both 1.0.0" in looked
    assert "allow: both 1.0.0" in looked
    assert main(["release", "--cosign", "--key", "releaser", *CHANNEL]) == 2
    assert capsys.readouterr().err.startswith("proposal-refused:")
    assert main(["release", "--cosign", "--key", "second", *CHANNEL]) == 0
    assert capsys.readouterr().out.endswith("enough releasers have signed: readers see it\n")
    assert main(["current", "both", *CHANNEL]) == 0
    assert main(["audit", *CHANNEL]) == 0
    assert main(["release", "--renew", "--key", "second", *CHANNEL]) == 0
    assert "channel version 2: readers believe it" in capsys.readouterr().out

    assert main(["yank", "tox", "1.0.0", "--patch", "--reason", "stolen", "--key", "second", *CHANNEL]) == 0
    assert main(["current", "both", *CHANNEL]) == 0
    assert main(["release", "--cosign", "--key", "releaser", *CHANNEL]) == 0
    assert "yank patch tox 1.0.0" in capsys.readouterr().out
    assert main(["current", "both", *CHANNEL]) == 2


def test_nobody_cosigns_what_their_own_check_denies(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    new_key(desk.root / "keys", "second", "releaser", now=desk.started)
    assert main(["keys", "threshold", "2"]) == 0
    desk.measure(desk.lock())
    release = ["release", "compose.lock", "--evidence", "evidence.json", "--key", "releaser", *CHANNEL]
    assert main(release) == 0
    revoke_key(desk.root / "keys", "evaluator", now=datetime.now(UTC), reason="made numbers up")
    capsys.readouterr()

    for word in ("--waiting", "--cosign"):
        assert main(["release", word, "--key", "second", *CHANNEL]) == 1
        printed = capsys.readouterr().out
        assert "key-revoked" in printed
        assert printed.endswith("nothing was signed\n")
    assert main(["current", "both", *CHANNEL]) == 2


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], "settings-invalid"),
        (["nothing.lock"], "lock-invalid"),
        (["compose.lock", "--evidence", "nothing.json"], "evidence-invalid"),
        (["compose.lock", "--evidence", "evidence.json", "--key", "evaluator"], "key-role"),
        (["compose.lock", "--evidence", "evidence.json", "--keys", "none"], "keyring-invalid"),
        (["compose.lock", "--evidence", "evidence.json", "--store", "none"], "store-missing"),
        (["--renew"], "release-missing"),
        (["--waiting"], "release-missing"),
        (["--cosign"], "release-missing"),
    ],
)
def test_what_cannot_be_read_is_said_and_releases_nothing(
    desk: Desk, capsys: pytest.CaptureFixture[str], words: list[str], code: str
) -> None:
    desk.measure(desk.lock())

    assert main(["release", *words, *CHANNEL]) == 2
    assert capsys.readouterr().err.startswith(f"{code}:")
    assert not Path("channel").exists()
