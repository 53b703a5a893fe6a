"""A channel that takes two releasers: what one puts forward waits, and counts once the other has checked and signed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root, Targets

from compose.errors import Rejected
from compose.trust.claims import Lock
from compose.trust.cosigning import Waiting, awaited, cosign, review
from compose.trust.keyring import keyring_bytes, read_keyring
from compose.trust.keys import import_keys, load_signer, new_key, revoke_key, rotate_key, set_threshold
from compose.trust.metadata import Writer, vouched
from compose.trust.releasing import Check
from compose.trust.store import Store, Stored
from tests.unit.trust.kills import Killed, at_the_timestamp, killed_when, kills_at_every_write
from tests.unit.trust.releases import BAD, Judge, locked, put_forward
from tests.unit.trust.shop import NAME, Shop


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(Rejected) as refused:
        action()
    return refused.value.code


class Firm:
    """A shop with two releasers, both of whom must sign."""

    def __init__(self, shop: Shop, store: Store, stored: tuple[Stored, ...]) -> None:
        self.shop, self.store, self.stored = shop, store, stored

    def lock(self, version: str) -> Lock:
        return locked(*self.stored, version=version)

    def put_forward(self, version: str, who: str = "releaser") -> None:
        self.shop.releaser = who
        put_forward(self.shop, self.lock(version), self.store)

    def cosign(self, who: str = "second", check: Check | None = None) -> Waiting:
        self.shop.releaser = who
        self.shop.advance()
        return cosign(self.shop.channel, self.shop.writer(), self.shop.now, check=check or Judge())

    def release(self, version: str) -> None:
        self.put_forward(version)
        assert self.cosign().lacking == 0

    def awaited(self) -> int:
        return awaited(self.shop.channel, self.shop.keyring)


@pytest.fixture
def one(shop: Shop, store: Store, put: Callable[..., Stored]) -> Firm:
    """A shop with two releasers of whom one is enough."""
    new_key(shop.keys, "second", "releaser", now=shop.now, days=1000)
    return Firm(shop, store, (put("tox"), put("bias")))


@pytest.fixture
def firm(one: Firm) -> Firm:
    set_threshold(one.shop.keys, 2)
    return one


def test_a_release_waits_for_the_second_releaser(firm: Firm) -> None:
    firm.put_forward("1.0.0")
    assert firm.awaited() == 1
    assert code_of(firm.shop.current) == "channel-keys"  # nothing there yet
    judge = Judge()
    waiting = firm.cosign(check=judge)

    assert [(name, event.action, event.version) for name, event in waiting.events] == [(NAME, "release", "1.0.0")]
    assert [one.release.version for one in waiting.reviewed] == ["1.0.0"]
    assert (waiting.lacking, waiting.new_root, len(judge.asked)) == (0, True, 1)
    assert firm.shop.fetch().release.version == "1.0.0"
    assert firm.awaited() == 0
    assert not (firm.shop.channel / "proposal").exists()


def test_every_change_waits_and_the_former_version_counts_meanwhile(firm: Firm) -> None:
    firm.release("1.0.0")
    firm.put_forward("1.1.0")
    assert firm.shop.current() == "1.0.0"
    firm.cosign()
    assert firm.shop.current() == "1.1.0"
    changes: list[tuple[Callable[[], object], str, str]] = [
        (lambda: firm.shop.rollback("1.0.0"), "1.1.0", "1.0.0"),
        (lambda: firm.shop.yank("1.1.0"), "1.0.0", "1.0.0"),
    ]
    for change, before, after in changes:
        change()
        assert firm.shop.current() == before
        assert firm.cosign("releaser" if firm.shop.releaser == "second" else "second").reviewed == ()
        assert firm.shop.current() == after
    firm.shop.withdraw("tox", "1.0.0")
    assert firm.shop.fetch().release.version == "1.0.0"
    assert [each.patch.name for each in firm.cosign("releaser").withdrawals] == ["tox"]
    assert code_of(firm.shop.fetch) == "release-withdrawn"


def test_a_look_signs_nothing(firm: Firm) -> None:
    firm.put_forward("1.0.0")
    waiting = review(firm.shop.channel, firm.shop.keyring, firm.shop.now, check=Judge())

    assert (waiting.lacking, waiting.allowed) == (1, True)
    assert firm.awaited() == 1


def test_nobody_signs_twice_and_nothing_is_signed_that_does_not_wait(firm: Firm) -> None:
    assert code_of(firm.cosign) == "release-missing"
    firm.put_forward("1.0.0")

    assert code_of(lambda: firm.cosign("releaser")) == "proposal-refused"
    assert firm.awaited() == 1
    firm.cosign()
    assert code_of(firm.cosign) == "release-missing"


def test_what_the_check_of_the_second_denies_is_not_signed(firm: Firm) -> None:
    firm.put_forward("1.0.0")
    waiting = firm.cosign(check=Judge(BAD))

    assert not waiting.allowed
    assert [one.verdict.findings for one in waiting.reviewed] == [(BAD,)]
    assert firm.awaited() == 1


def test_a_later_change_takes_the_place_of_one_that_waits(firm: Firm) -> None:
    firm.release("1.0.0")
    firm.put_forward("1.1.0")
    firm.put_forward("1.2.0", "second")

    assert [event.version for _, event in firm.cosign("releaser").events] == ["1.2.0"]
    assert firm.shop.current() == "1.2.0"


def test_one_releaser_renews_until_root_or_targets_must_be_made_anew(firm: Firm) -> None:
    firm.release("1.0.0")
    for _ in range(6):  # 174 days of the 365 that root and targets have
        firm.shop.advance(days=29)
        assert firm.shop.renew() is not None
        assert firm.shop.current() == "1.0.0"
    firm.shop.advance(days=29)
    assert firm.shop.renew() is None
    assert firm.awaited() == 1
    assert firm.cosign("releaser" if firm.shop.releaser == "second" else "second").events == ()
    assert firm.shop.current() == "1.0.0"
    assert firm.shop.current(who="newcomer") == "1.0.0"


def test_a_renewal_leaves_what_waits(firm: Firm) -> None:
    firm.release("1.0.0")
    firm.put_forward("1.1.0")
    assert firm.shop.renew() is not None

    firm.cosign()
    assert firm.shop.current() == "1.1.0"


def test_who_has_rotated_a_key_counts_once(firm: Firm) -> None:
    former = load_signer(firm.shop.keys, "releaser", "releaser", now=firm.shop.now)
    rotate_key(firm.shop.keys, "releaser", now=firm.shop.now, days=1000)
    firm.put_forward("1.0.0")
    twice = Writer(firm.shop.keyring, former)

    assert code_of(lambda: cosign(firm.shop.channel, twice, firm.shop.now, check=Judge())) == "channel-keys"
    assert firm.awaited() == 1
    root = Metadata[Root].from_bytes((firm.shop.channel / "proposal" / "root.json").read_bytes())
    assert len(root.signed.roles[Targets.type].keyids) == 2


def test_rotated_releasers_take_the_channel_over_together(firm: Firm) -> None:
    firm.release("1.0.0")
    assert firm.shop.current() == "1.0.0"
    for holder in ("releaser", "second"):
        firm.shop.advance()
        rotate_key(firm.shop.keys, holder, now=firm.shop.now, days=1000)

    firm.release("1.1.0")
    assert firm.shop.current() == "1.1.0"
    assert firm.shop.current(who="newcomer") == "1.1.0"


def test_a_third_releaser_and_one_of_two_replace_a_stolen_key(firm: Firm) -> None:
    new_key(firm.shop.keys, "third", "releaser", now=firm.shop.now, days=1000)
    firm.release("1.0.0")
    assert firm.shop.current() == "1.0.0"
    revoke_key(firm.shop.keys, "releaser", now=firm.shop.now, reason="stolen")
    (firm.shop.keys / "releaser.key").unlink()
    assert code_of(lambda: firm.shop.current(who="newcomer")) == "channel-keys"

    firm.put_forward("1.1.0", "second")
    firm.cosign("third")
    assert firm.shop.current() == "1.1.0"
    assert firm.shop.current(who="newcomer") == "1.1.0"


def test_a_raised_threshold_has_the_second_check_everything_that_is_there(one: Firm) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        one.put_forward(version)
    one.shop.yank("1.1.0")
    assert one.shop.current() == "1.2.0"
    set_threshold(one.shop.keys, 2)
    assert code_of(one.shop.current) == "channel-keys"  # one releaser alone has signed it
    assert one.shop.renew() is None

    waiting = one.cosign(check=Judge(BAD))
    assert not waiting.allowed
    assert [event.action for _, event in waiting.events] == ["release", "release", "release", "yank"]
    assert [each.release.version for each in waiting.reviewed] == ["1.0.0", "1.2.0"]
    assert one.cosign().lacking == 0
    assert one.shop.current() == "1.2.0"
    assert one.shop.current(who="newcomer") == "1.2.0"


def test_a_lowered_threshold_takes_both_once_more(firm: Firm) -> None:
    firm.release("1.0.0")
    set_threshold(firm.shop.keys, 1)
    firm.put_forward("1.1.0")
    assert firm.awaited() == 1
    firm.cosign()
    assert firm.shop.current() == "1.1.0"

    firm.put_forward("1.2.0")
    assert firm.shop.current() == "1.2.0"


def test_releasers_with_different_keyrings_do_not_sign_for_each_other(firm: Firm, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    shutil.copytree(firm.shop.keys, theirs)
    new_key(firm.shop.keys, "third", "releaser", now=firm.shop.now, days=1000)
    firm.put_forward("1.0.0")
    signer = load_signer(theirs, "second", "releaser", now=firm.shop.now)
    writer = Writer(read_keyring(theirs), signer)

    assert code_of(lambda: cosign(firm.shop.channel, writer, firm.shop.now, check=Judge())) == "proposal-refused"
    import_keys(theirs, keyring_bytes(firm.shop.keyring), subject="ours")
    agreed = replace(writer, keyring=read_keyring(theirs))
    assert cosign(firm.shop.channel, agreed, firm.shop.now, check=Judge()).lacking == 0


def test_a_threshold_needs_as_many_releasers_and_is_never_lowered_by_an_import(shop: Shop, tmp_path: Path) -> None:
    assert code_of(lambda: set_threshold(shop.keys, 2)) == "keyring-invalid"
    assert code_of(lambda: set_threshold(shop.keys, 0)) == "keyring-invalid"
    new_key(shop.keys, "second", "releaser", now=shop.now)
    before = keyring_bytes(shop.keyring)
    set_threshold(shop.keys, 2)
    mine = tmp_path / "mine"
    for data in (before, keyring_bytes(shop.keyring), before):
        import_keys(mine, data, subject="theirs")

    assert read_keyring(mine).threshold == 2
    assert b"threshold" not in before


def test_with_too_few_releasers_left_nothing_is_put_forward(firm: Firm) -> None:
    revoke_key(firm.shop.keys, "second", now=firm.shop.now, reason="lost")

    assert code_of(lambda: firm.put_forward("1.0.0")) == "channel-keys"


def test_a_cosigner_who_is_killed_at_any_write_leaves_the_channel_as_it_was_and_can_repeat(
    firm: Firm,
) -> None:
    firm.release("1.0.0")
    firm.put_forward("1.1.0")
    kills = 0
    for kills in kills_at_every_write(firm.cosign):
        assert firm.shop.current(who=f"reader-{kills}") == "1.0.0"

    assert kills == 3  # targets, snapshot, timestamp
    assert firm.shop.current(who="reader-1") == "1.1.0"


def test_a_kill_between_a_new_root_and_its_timestamp_can_be_repeated(
    firm: Firm,
) -> None:
    firm.release("1.0.0")
    new_key(firm.shop.keys, "third", "releaser", now=firm.shop.now, days=1000)
    firm.put_forward("1.1.0")
    with pytest.raises(Killed), killed_when(at_the_timestamp):
        firm.cosign()
    assert (firm.shop.channel / "metadata" / "2.root.json").exists()
    assert firm.shop.current() == "1.0.0"

    firm.cosign()
    assert firm.shop.current() == "1.1.0"


def test_a_damaged_proposal_is_not_signed(firm: Firm) -> None:
    firm.put_forward("1.0.0")
    for name in ("targets.json", "root.json"):
        path = firm.shop.channel / "proposal" / name
        whole = path.read_bytes()
        for data in (b"{}", whole[: len(whole) // 2], whole.replace(b'"version": 1', b'"version": 7')):
            path.write_bytes(data)
            assert code_of(firm.cosign) in ("proposal-refused", "channel-invalid"), (name, data[:40])
        path.write_bytes(whole)
    assert firm.cosign().lacking == 0


def test_a_root_that_asks_for_fewer_is_none_for_readers_who_ask_for_more(one: Firm) -> None:
    one.put_forward("1.0.0")
    root = Metadata[Root].from_bytes((one.shop.channel / "metadata" / "1.root.json").read_bytes())
    assert vouched(root, one.shop.keyring, one.shop.now)
    root.sign(load_signer(one.shop.keys, "second", "releaser", now=one.shop.now), append=True)
    set_threshold(one.shop.keys, 2)

    assert not vouched(root, one.shop.keyring, one.shop.now)  # both have signed that one is enough
