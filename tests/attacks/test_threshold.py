"""What one releaser of two can do alone, or can put before the other, where it takes both to change a channel."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from compose.errors import Rejected
from compose.trust.cosigning import Waiting, cosign
from compose.trust.keys import new_key, rotate_key, set_threshold
from compose.trust.metadata import read_signed, write_signed
from compose.trust.proposal import metadata_bytes
from compose.trust.release import WITHDRAWN_FILE, Withdrawals, log_bytes
from compose.trust.store import Store
from tests.unit.trust.cases import folder_of, members
from tests.unit.trust.releases import Judge, locked, put_forward
from tests.unit.trust.shop import NAME, Shop, open_shop

HISTORY = f"{NAME}/history.json"


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(Rejected) as refused:
        action()
    return refused.value.code


def cosigned(shop: Shop, who: str = "second", judge: Judge | None = None) -> Waiting:
    shop.releaser = who
    try:
        return cosign(shop.channel, shop.writer(), shop.now, check=judge or Judge())
    finally:
        shop.releaser = "releaser"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store of two patches."""
    store = Store(tmp_path / "store")
    for one in members():
        store.put(folder_of(one, tmp_path / one.card.name))
    return store


@pytest.fixture
def firm(tmp_path: Path, store: Store) -> Shop:
    """A channel of two releasers who both must sign, with one release and one yank; `releaser` is the rogue."""
    shop = open_shop(tmp_path)
    new_key(shop.keys, "second", "releaser", now=shop.now, days=1000)
    set_threshold(shop.keys, 2)
    stored = store.all()
    for version in ("1.0.0", "1.1.0"):
        put_forward(shop, locked(*stored, version=version), store)
        cosigned(shop)
    shop.yank("1.1.0", "leaks")
    cosigned(shop)
    shop.rollback("1.0.0", "1.1.0 leaks")
    cosigned(shop)
    assert shop.current() == "1.0.0"
    return shop


def propose(shop: Shop, files: dict[str, bytes], lost: tuple[str, ...] = ()) -> None:
    """Put a version with these files, and without some, forward by the rogue's key alone, by none of our rules."""
    shop.advance()
    before = read_signed(shop.channel, shop.keyring)
    assert before is not None
    targets = {path: target for path, target in before.targets.items() if path not in lost}
    for path, data in files.items():
        targets[path] = TargetFile.from_data(path, data, ["sha256"])
        place = shop.channel / "targets" / targets[path].get_prefixed_paths()[0]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    assert not write_signed(shop.channel, before, targets, shop.writer(), shop.now)


def publish_alone(shop: Shop, channel: Path) -> None:
    """Make the proposal of a copy what its readers meet, signed by the rogue alone."""
    targets = Metadata[Targets].from_bytes((channel / "proposal" / "targets.json").read_bytes())
    write_below(shop, channel, metadata_bytes(targets), targets.signed.version)


def write_below(shop: Shop, channel: Path, targets: bytes, version: int) -> None:
    """Write targets, a snapshot and a timestamp of this version, the latter two signed by the rogue."""
    expires = shop.now.replace(year=shop.now.year + 1)
    of_targets = MetaFile.from_data(version, targets, ["sha256"])
    snapshot = Metadata(Snapshot(version=version, expires=expires, meta={"targets.json": of_targets}))
    snapshot.sign(shop.writer().signer)
    data = metadata_bytes(snapshot)
    timestamp = Metadata(
        Timestamp(version=version, expires=expires, snapshot_meta=MetaFile.from_data(version, data, ["sha256"]))
    )
    timestamp.sign(shop.writer().signer)
    for name, content in (
        (f"{version}.targets.json", targets),
        (f"{version}.snapshot.json", data),
        ("timestamp.json", metadata_bytes(timestamp)),
    ):
        (channel / "metadata" / name).write_bytes(content)


def taken(shop: Shop) -> Path:
    return Path(shutil.copytree(shop.channel, shop.root / "taken"))


def test_targets_that_one_of_two_signed_are_refused(firm: Shop) -> None:
    propose(firm, {WITHDRAWN_FILE: log_bytes(Withdrawals())})
    channel = taken(firm)
    publish_alone(firm, channel)

    for who in ("deployer", "newcomer"):
        assert code_of(lambda who=who: firm.current(str(channel), who=who)) == "channel-forged"  # type: ignore[misc]
    assert firm.current(who="somebody else") == "1.0.0"


def test_one_signature_twice_is_one(firm: Shop) -> None:
    propose(firm, {WITHDRAWN_FILE: log_bytes(Withdrawals())})
    channel = taken(firm)
    fields = json.loads((channel / "proposal" / "targets.json").read_bytes())
    fields["signatures"] *= 2
    version = fields["signed"]["version"]
    write_below(firm, channel, json.dumps(fields).encode(), version)

    assert code_of(lambda: firm.current(str(channel))) == "channel-invalid"


def test_two_keys_of_one_releaser_are_one(firm: Shop) -> None:
    firm.advance()
    rotate_key(firm.keys, "releaser", now=firm.now, days=1000)
    propose(firm, {WITHDRAWN_FILE: log_bytes(Withdrawals())})
    channel = taken(firm)
    root = channel / "proposal" / "root.json"
    found = Metadata[Root].from_bytes(root.read_bytes())

    assert len(found.signatures) == 2  # the old and the new key of the rogue
    shutil.copy(root, channel / "metadata" / f"{found.signed.version}.root.json")
    publish_alone(firm, channel)
    for who in ("deployer", "newcomer"):
        assert code_of(lambda who=who: firm.current(str(channel), who=who)) == "channel-forged"  # type: ignore[misc]


def test_a_channel_that_one_of_two_made_alone_is_not_believed(firm: Shop, tmp_path: Path) -> None:
    rogue = Shop(tmp_path / "rogue", now=firm.now)
    shutil.copytree(firm.keys, rogue.keys)
    set_threshold(rogue.keys, 1)
    rogue.release("9.0.0")

    assert code_of(lambda: firm.current(str(rogue.channel), who="newcomer")) == "channel-keys"
    assert code_of(lambda: firm.current(str(rogue.channel))) in ("channel-forged", "channel-rollback")


def test_a_root_that_lets_one_releaser_do_is_not_followed(firm: Shop) -> None:
    set_threshold(firm.keys, 1)
    firm.renew()
    set_threshold(firm.keys, 2)
    channel = taken(firm)
    shutil.copy(channel / "proposal" / "root.json", channel / "metadata" / "2.root.json")
    publish_alone(firm, channel)

    for who in ("deployer", "newcomer"):
        assert code_of(lambda who=who: firm.current(str(channel), who=who)) == "channel-forged"  # type: ignore[misc]
    assert code_of(lambda: cosigned(firm)) == "proposal-refused"


def target(shop: Shop, path: str) -> bytes:
    """Return a file of the channel as it is now."""
    before = read_signed(shop.channel, shop.keyring)
    assert before is not None
    return (shop.channel / "targets" / before.targets[path].get_prefixed_paths()[0]).read_bytes()


def test_a_proposal_that_hides_something_is_not_signed(firm: Shop) -> None:
    with firm.open(who="editor") as reader:
        history = reader.history(NAME)
    later = history.events[-1].model_copy(update={"serial": 5, "version": "1.0.0", "action": "yank"})
    dated = later.model_copy(update={"at": "2026-06-01T12:00:30Z", "reason": "old"})
    firm.advance(days=40)
    shorter = history.model_copy(update={"events": history.events[:2]})
    backdated = history.model_copy(update={"events": (*history.events, dated)})
    lock = next(path for path in paths(firm) if path.startswith(f"{NAME}/1.0.0/") and path.endswith("compose.lock"))
    firm.renew()
    hidden: dict[str, tuple[dict[str, bytes], tuple[str, ...]]] = {
        "a yank that is gone": ({HISTORY: log_bytes(shorter)}, ()),
        "a history that is gone": ({}, (HISTORY,)),
        "a change of weeks ago": ({HISTORY: log_bytes(backdated)}, ()),
        "another file in a release": ({lock: target(firm, lock) + b"\n"}, ()),
        "a file of a release that is gone": ({}, (lock,)),
        "a file of no release": ({f"{NAME}/2.0.0/compose.lock": b"{}"}, ()),
        "a history of another name": ({"other/history.json": target(firm, HISTORY)}, ()),
        "no log at all": ({HISTORY: b"{}"}, ()),
    }
    for what, (files, lost) in hidden.items():
        propose(firm, files, lost)
        assert code_of(lambda: cosigned(firm)) in ("proposal-refused", "release-invalid"), what
    assert firm.current() == "1.0.0"


def paths(shop: Shop) -> list[str]:
    """Return the paths of the files that the channel has."""
    before = read_signed(shop.channel, shop.keyring)
    assert before is not None
    return sorted(before.targets)


def test_a_release_that_another_one_was_sealed_for_is_not_signed(firm: Shop) -> None:
    with firm.open(who="editor") as reader:
        history = reader.history(NAME)
    event = history.events[0].model_copy(update={"serial": 5, "version": "2.0.0", "at": "2026-06-01T12:01:00Z"})
    firm.advance(seconds=60)
    files = {
        HISTORY: log_bytes(history.model_copy(update={"events": (*history.events, event)})),
        f"{NAME}/2.0.0/release.json": target(firm, f"{NAME}/1.0.0/release.json"),
    }
    propose(firm, files)

    assert code_of(lambda: cosigned(firm)) == "channel-mixed"


def test_a_channel_that_was_made_anew_below_the_other_is_checked_from_its_first_release(
    firm: Shop, store: Store
) -> None:
    """The rogue replaces the shared folder by one of their own, with a release that nobody else has seen."""
    shutil.rmtree(firm.channel)
    set_threshold(firm.keys, 1)
    put_forward(firm, locked(*store.all(), version="9.0.0"), store)
    set_threshold(firm.keys, 2)
    put_forward(firm, locked(*store.all(), version="9.1.0"), store)
    judge = Judge()
    waiting = cosigned(firm, judge=judge)

    assert [event.version for _, event in waiting.events] == ["9.0.0", "9.1.0"]
    assert len(judge.asked) == 2
