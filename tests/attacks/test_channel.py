"""What an attacker who holds the web server, an old copy or a key of another role can do to a channel's readers."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuf.api.metadata import TargetFile

from compose.errors import Rejected
from compose.trust import client
from compose.trust.keyring import keyring_bytes, parse_keyring
from compose.trust.keys import load_signer, new_key, revoke_key
from compose.trust.metadata import read_signed, write_signed
from compose.trust.release import RELEASE_TYPE, log_bytes
from compose.trust.seal import seal
from tests.properties.mutations import mutated
from tests.unit.trust.shop import NAME, Shop, bundle, open_shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A channel with two releases."""
    shop = open_shop(tmp_path)
    shop.release("1.0.0")
    shop.release("1.1.0")
    return shop


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(Rejected) as refused:
        action()
    return refused.value.code


def copied(shop: Shop, name: str) -> Path:
    """Return a copy of the channel as it is now, in the attacker's hands."""
    return Path(shutil.copytree(shop.channel, shop.root / name))


def metadata(channel: Path, name: str) -> Path:
    return channel / "metadata" / name


def test_rollback_an_older_channel_is_refused_by_who_saw_a_newer_one(shop: Shop) -> None:
    old = copied(shop, "old")
    shop.release("1.2.0")
    assert shop.current() == "1.2.0"

    assert code_of(lambda: shop.current(str(old))) == "channel-rollback"
    assert shop.current() == "1.2.0"


def test_rollback_by_the_replay_of_one_signed_file_is_refused(shop: Shop) -> None:
    old = copied(shop, "old")
    shop.release("1.2.0")
    assert shop.current() == "1.2.0"
    replayed = copied(shop, "replayed")
    shutil.copy(metadata(old, "timestamp.json"), metadata(replayed, "timestamp.json"))

    assert code_of(lambda: shop.current(str(replayed))) == "channel-rollback"


def test_a_rollback_by_the_maintainer_is_believed_and_cannot_be_undone_by_replay(shop: Shop) -> None:
    before = copied(shop, "before")
    shop.rollback("1.0.0", "1.1.0 is worse")
    assert shop.current() == "1.0.0"

    assert code_of(lambda: shop.current(str(before))) == "channel-rollback"


def test_a_withdrawn_version_cannot_be_brought_back_by_replay(shop: Shop) -> None:
    before = copied(shop, "before")
    shop.yank("1.1.0", "leaks")
    assert code_of(lambda: shop.current()) == "release-withdrawn"

    assert code_of(lambda: shop.current(str(before))) == "channel-rollback"


@pytest.mark.parametrize("lost", ["a yank", "a withdrawal"])
def test_what_was_taken_back_is_not_lost_by_a_maintainer_who_goes_on_from_an_old_copy(shop: Shop, lost: str) -> None:
    old = copied(shop, "old")
    if lost == "a yank":
        shop.yank("1.1.0", "leaks")
    else:
        shop.withdraw("tox", "1.1.0", "leaks")
    assert code_of(lambda: shop.fetch()) == "release-withdrawn"
    shutil.rmtree(shop.channel)
    old.rename(shop.channel)  # somebody restored a backup, or made it look so
    shop.renew()
    shop.renew()

    assert code_of(lambda: shop.fetch()) == "channel-rollback"
    assert shop.fetch(who="newcomer").release.version == "1.1.0"  # who has seen nothing can miss nothing


def test_freeze_a_channel_that_is_held_back_expires(shop: Shop) -> None:
    held_back = copied(shop, "held-back")
    shop.yank("1.1.0", "leaks")

    shop.advance(days=29)
    assert shop.current(str(held_back)) == "1.1.0"  # the window in which nobody can know
    shop.advance(days=1)
    assert code_of(lambda: shop.current(str(held_back))) == "channel-expired"
    assert code_of(lambda: shop.current(str(held_back), who="newcomer")) == "channel-expired"


@pytest.mark.parametrize("role", ["snapshot", "targets"])
def test_mix_and_match_of_metadata_versions_is_refused(shop: Shop, role: str) -> None:
    mixed = copied(shop, "mixed")
    shutil.copy(metadata(mixed, f"1.{role}.json"), metadata(mixed, f"2.{role}.json"))

    assert code_of(lambda: shop.current(str(mixed))) == "channel-mixed"


def test_mix_and_match_of_released_files_is_refused(shop: Shop) -> None:
    for pattern in (f"{NAME}/*.history.json", f"{NAME}/1.?.0/*.release.json", f"{NAME}/1.?.0/patches/aa-bb/*"):
        mixed = copied(shop, "mixed")
        first, second = sorted((mixed / "targets").glob(pattern))
        first_bytes, second_bytes = first.read_bytes(), second.read_bytes()
        first.write_bytes(second_bytes)
        second.write_bytes(first_bytes)
        assert code_of(lambda source=str(mixed): shop.fetch(source=source)) == "channel-mixed", pattern  # type: ignore[misc]
        shutil.rmtree(mixed)


def test_a_file_that_never_ends_is_cut_off_where_it_should_end(shop: Shop) -> None:
    for pattern in ("metadata/timestamp.json", "metadata/2.snapshot.json", f"targets/{NAME}/1.1.0/*.compose.lock"):
        endless = copied(shop, "endless")
        (path,) = endless.glob(pattern)
        path.write_bytes(path.read_bytes() + b" " * 1_000_000)
        assert code_of(lambda source=str(endless): shop.fetch(source=source)) == "channel-mixed", pattern  # type: ignore[misc]
        shutil.rmtree(endless)


def test_a_link_in_the_place_of_a_file_is_not_followed(shop: Shop) -> None:
    timestamp = metadata(shop.channel, "timestamp.json")
    timestamp.rename(shop.root / "elsewhere.json")
    timestamp.symlink_to(shop.root / "elsewhere.json")

    assert code_of(lambda: shop.current()) == "channel-unreachable"


def test_a_channel_of_strangers_is_not_believed(shop: Shop, tmp_path: Path) -> None:
    mallory = open_shop(tmp_path / "mallory")
    mallory.release("9.0.0")
    theirs = str(mallory.channel)

    assert code_of(lambda: shop.current(theirs)) == "channel-keys"
    assert shop.current() == "1.1.0"
    assert code_of(lambda: shop.current(theirs)) == "channel-forged"  # the root is remembered by now


def test_a_root_that_the_one_before_did_not_sign_is_not_followed(shop: Shop, tmp_path: Path) -> None:
    assert shop.current() == "1.1.0"
    mallory = open_shop(tmp_path / "mallory")
    mallory.release("9.0.0")
    new_key(mallory.keys, "more", "releaser", now=mallory.now)
    mallory.renew()  # makes a second root
    taken = copied(shop, "taken")
    shutil.copy(metadata(mallory.channel, "2.root.json"), metadata(taken, "2.root.json"))

    assert code_of(lambda: shop.current(str(taken))) == "channel-forged"


def test_a_trusted_key_of_another_role_makes_no_channel(shop: Shop, tmp_path: Path) -> None:
    mallory = open_shop(tmp_path / "mallory")
    mallory.release("9.0.0")
    fields = json.loads(keyring_bytes(mallory.keyring))
    for role in ("author", "evaluator"):
        fields["keys"][0]["role"] = role
        trusted = parse_keyring(json.dumps(fields).encode(), subject="ring")
        assert code_of(lambda ring=trusted: read(shop, mallory, ring)) == "channel-keys"  # type: ignore[misc]
    fields["keys"][0]["role"] = "releaser"
    read(shop, mallory, parse_keyring(json.dumps(fields).encode(), subject="ring"))


def read(shop: Shop, other: Shop, keyring: object) -> None:
    """Read another channel with the trust in `keyring`."""
    with shop.open(str(other.channel), who="newcomer", keyring=keyring) as reader:  # type: ignore[arg-type]
        assert reader.current(NAME).version == "9.0.0"


def test_a_stolen_key_writes_nothing_that_is_believed_once_it_is_revoked(shop: Shop) -> None:
    assert shop.current() == "1.1.0"
    thief = Shop(shop.root / "thief", now=shop.now)
    shutil.copytree(shop.keys, thief.keys)
    shutil.copytree(shop.channel, thief.channel)
    thief.rollback("1.0.0", "because I can")
    new_key(thief.keys, "thief", "releaser", now=thief.now)
    thief.renew()  # a root with the thief's own key, signed by the stolen one

    revoke_key(shop.keys, "releaser", now=shop.now, reason="stolen")
    shop.advance(days=1)
    for who in ("deployer", "newcomer"):
        assert code_of(lambda who=who: shop.current(str(thief.channel), who=who)) == "channel-keys"  # type: ignore[misc]


def test_a_channel_whose_only_releaser_has_expired_is_not_believed(tmp_path: Path) -> None:
    shop = open_shop(tmp_path, days=40)
    shop.release("1.0.0")
    shop.advance(days=29)
    shop.renew()
    assert shop.current() == "1.0.0"
    shop.advance(days=12)  # the key has expired, the timestamp counts for 18 more days

    assert code_of(lambda: shop.current()) == "channel-keys"


def test_a_reader_whose_memory_is_damaged_says_so(shop: Shop) -> None:
    assert shop.current() == "1.1.0"
    seen = shop.root / "seen" / "deployer"
    (seen / "timestamp.json").write_bytes(b"{}")  # what cannot be used is fetched again
    assert shop.current() == "1.1.0"
    (seen / "root.json").unlink()
    (seen / "root.json").write_bytes(b"{}")
    with pytest.raises(Rejected, match="delete the folder") as refused:
        shop.current()
    assert refused.value.code == "channel-invalid"


def forge(shop: Shop, files: dict[str, bytes]) -> None:
    """Sign a version of the channel with these files, as a releaser could whose program keeps none of the rules."""
    shop.advance()
    before = read_signed(shop.channel, shop.keyring)
    assert before is not None
    targets = dict(before.targets)
    for path, data in files.items():
        targets[path] = TargetFile.from_data(path, data, ["sha256"])
        (shop.channel / "targets" / targets[path].get_prefixed_paths()[0]).write_bytes(data)
    write_signed(shop.channel, before, targets, shop.writer(), shop.now)


def target(shop: Shop, path: str) -> bytes:
    """Return a file of the channel as it is now."""
    before = read_signed(shop.channel, shop.keyring)
    assert before is not None
    return (shop.channel / "targets" / before.targets[path].get_prefixed_paths()[0]).read_bytes()


def test_a_releaser_who_exchanges_a_file_of_a_release_is_found_out(shop: Shop) -> None:
    forge(shop, {f"{NAME}/1.1.0/patches/aa-bb/adapter_model.safetensors": b"another tensor"})

    assert code_of(lambda: shop.fetch()) == "channel-mixed"
    assert shop.fetch("1.0.0").release.version == "1.0.0"


def test_a_releaser_who_exchanges_a_release_is_found_out(shop: Shop) -> None:
    forge(shop, {f"{NAME}/1.1.0/release.json": target(shop, f"{NAME}/1.0.0/release.json")})

    assert code_of(lambda: shop.fetch()) == "channel-mixed"


def test_a_release_that_no_releaser_sealed_is_refused(shop: Shop) -> None:
    new_key(shop.keys, "author", "author", now=shop.now)
    author = load_signer(shop.keys, "author", "author", now=shop.now)
    payload = json.loads(target(shop, f"{NAME}/1.1.0/release.json"))["payload"]
    forge(shop, {f"{NAME}/1.1.0/release.json": seal(base64.b64decode(payload), RELEASE_TYPE, author)})

    assert code_of(lambda: shop.fetch()) == "key-role"


def test_a_history_that_cannot_have_happened_is_refused(shop: Shop) -> None:
    with shop.open(who="editor") as reader:
        history = reader.history(NAME)
    for events in (history.events[1:], (history.events[0], history.events[0])):
        forge(shop, {f"{NAME}/history.json": log_bytes(history.model_copy(update={"events": events}))})
        assert code_of(lambda: shop.current(who="newcomer")) == "release-invalid"
    forge(shop, {f"{NAME}/history.json": log_bytes(history.model_copy(update={"events": ()}))})
    assert code_of(lambda: shop.current(who="newcomer")) == "release-missing"
    assert code_of(lambda: shop.current(who="editor")) == "channel-rollback"


def test_a_channel_with_a_root_without_end_is_left(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_ROOTS", 3)
    root = metadata(shop.channel, "1.root.json").read_bytes()
    for version in range(2, 6):
        metadata(shop.channel, f"{version}.root.json").write_bytes(root)

    assert code_of(lambda: shop.current()) == "channel-invalid"


def test_a_writer_refuses_a_folder_whose_files_do_not_fit(shop: Shop) -> None:
    pristine = shop.root / "pristine"
    shutil.copytree(shop.channel, pristine)
    folder = shop.channel / "metadata"
    damages: list[Callable[[], object]] = [
        lambda: shutil.copy(folder / "1.targets.json", folder / "2.targets.json"),
        lambda: shutil.copy(folder / "1.snapshot.json", folder / "2.snapshot.json"),
        lambda: shutil.copy(folder / "2.snapshot.json", folder / "timestamp.json"),
        lambda: (folder / "2.snapshot.json").unlink(),
        lambda: (folder / "1.root.json").unlink(),
        lambda: (folder / "timestamp.json").unlink(),
        lambda: (folder / "1.root.json").write_bytes(b"[]"),
    ]
    for damage in damages:
        damage()
        assert code_of(lambda: shop.release("1.2.0")) in ("channel-invalid", "channel-keys")
        shutil.rmtree(shop.channel)
        shutil.copytree(pristine, shop.channel)
    shop.release("1.2.0")


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A channel with a release, a rollback and a yank, which the test below damages copies of."""
    shop = open_shop(tmp_path_factory.mktemp("shop"))
    shop.release("1.0.0")
    shop.release("1.1.0")
    shop.rollback("1.0.0")
    shop.yank("1.1.0")
    return shop


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_mutated_file_is_refused_or_changes_nothing(standing: Shop, data: st.DataObject) -> None:
    files = sorted(path for path in standing.channel.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    whole, who = path.read_bytes(), f"reader-{data.draw(st.integers(0, 10**12))}"
    path.write_bytes(mutated(data, whole))
    try:
        fetched = standing.fetch(who=who)
    except Rejected:
        return
    finally:
        path.write_bytes(whole)
        shutil.rmtree(standing.root / "seen" / who, ignore_errors=True)
    assert fetched.release.version == "1.0.0"
    assert fetched.files == bundle("1.0.0").files
