"""A channel in a folder, written by its maintainer and read by deployers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from compose.errors import Rejected
from compose.trust.channel import publish
from compose.trust.client import default_state
from compose.trust.keys import load_signer, new_key, revoke_key, rotate_key
from compose.trust.metadata import Writer
from tests.unit.trust.kills import Killed, at_the_timestamp, killed_when, kills_at_every_write
from tests.unit.trust.shop import NAME, Shop, bundle


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(Rejected) as refused:
        action()
    return refused.value.code


def test_what_is_released_is_read_byte_for_byte(shop: Shop) -> None:
    shop.release("1.0.0")
    fetched = shop.fetch()

    assert fetched.files == bundle("1.0.0").files
    assert (fetched.release.name, fetched.release.version) == (NAME, "1.0.0")
    assert fetched.release.lock == bundle("1.0.0").lock
    assert fetched.signed_by == (shop.writer().signer.public_key.keyid,)


def test_a_release_a_rollback_and_a_yank_follow_each_other(shop: Shop) -> None:
    shop.release("1.0.0")
    assert shop.current() == "1.0.0"
    shop.release("1.1.0")
    assert shop.current() == "1.1.0"
    back = shop.rollback("1.0.0", "1.1.0 swears on Sundays")
    assert shop.current() == "1.0.0"
    shop.yank("1.1.0", "1.1.0 swears on Sundays")
    assert shop.current() == "1.0.0"
    shop.release("1.2.0")

    with shop.open() as reader:
        events = reader.history(NAME).events
        assert [(event.action, event.version) for event in events] == [
            ("release", "1.0.0"),
            ("release", "1.1.0"),
            ("rollback", "1.0.0"),
            ("yank", "1.1.0"),
            ("release", "1.2.0"),
        ]
        assert events[2] == back
        assert events[2].reason == "1.1.0 swears on Sundays"
        assert reader.fetch(NAME, "1.0.0").files == bundle("1.0.0").files
        assert reader.current(NAME).version == "1.2.0"


def test_a_rollback_is_a_new_version_of_the_channel(shop: Shop) -> None:
    shop.release("1.0.0")
    shop.release("1.1.0")
    shop.rollback("1.0.0")

    versions = {int(path.name.split(".")[0]) for path in (shop.channel / "metadata").glob("*.targets.json")}
    assert versions == {1, 2, 3}


def test_a_withdrawn_version_is_not_handed_out(shop: Shop) -> None:
    shop.release("1.0.0")
    shop.release("1.1.0")
    shop.yank("1.1.0", "leaks names")

    for refused in (lambda: shop.current(), lambda: shop.fetch(), lambda: shop.fetch("1.1.0")):
        with pytest.raises(Rejected) as error:
            refused()
        assert error.value.code == "release-withdrawn"
        assert "leaks names" in error.value.got
    assert shop.fetch("1.0.0").release.version == "1.0.0"
    with shop.open() as reader:
        assert reader.fetch(NAME, "1.1.0", withdrawn=True).files == bundle("1.1.0").files
    assert code_of(lambda: shop.rollback("1.1.0")) == "release-order"


def test_a_version_is_released_once_and_upwards(shop: Shop) -> None:
    shop.release("1.1.0")

    assert code_of(lambda: shop.release("1.1.0")) == "release-order"
    assert code_of(lambda: shop.release("1.0.9")) == "release-order"
    shop.release("1.10.0")
    assert code_of(lambda: shop.release("1.9.0")) == "release-order"
    assert shop.current() == "1.10.0"


def test_one_channel_holds_several_names(shop: Shop) -> None:
    shop.release("1.0.0")
    shop.release("0.1.0", "fair")

    with shop.open() as reader:
        assert reader.names() == (NAME, "fair")
        assert reader.current("fair").version == "0.1.0"
        assert reader.current(NAME).version == "1.0.0"
        assert code_of(lambda: reader.current("other")) == "release-missing"
        assert code_of(lambda: reader.current("../calm")) == "release-missing"
        assert code_of(lambda: reader.fetch(NAME, "3.0.0")) == "release-missing"


def test_what_was_never_released_cannot_be_changed(shop: Shop) -> None:
    for change in (lambda: shop.rollback("1.0.0"), lambda: shop.yank("1.0.0"), lambda: shop.renew()):
        assert code_of(change) == "release-missing"
    shop.release("1.0.0")
    assert code_of(lambda: shop.rollback("0.9.0")) == "release-missing"
    assert code_of(lambda: shop.rollback("1.0.0")) == "release-order"
    assert code_of(lambda: shop.yank("1.0.0", "")) == "release-order"


def test_a_bundle_that_is_not_complete_makes_no_channel(shop: Shop) -> None:
    whole = bundle("1.0.0")
    for path in whole.files:
        files = {name: data for name, data in whole.files.items() if name != path}
        part = replace(whole, files=files)
        assert code_of(lambda part=part: publish(shop.channel, part, shop.writer(), shop.now)) == "release-invalid"  # type: ignore[misc]
    assert not shop.channel.exists()


def test_a_withdrawn_patch_withdraws_every_release_that_it_is_part_of(shop: Shop) -> None:
    shop.release("1.0.0")
    shop.release("1.1.0")
    shop.release("1.0.0", "fair")
    assert [each.patch.version for each in shop.withdraw("tox", "1.0.0", "its data were poisoned")] == ["1.0.0"]

    for name in (NAME, "fair"):
        with shop.open() as reader, pytest.raises(Rejected, match=r"tox 1\.0\.0.*its data were poisoned") as refused:
            reader.fetch(name, "1.0.0")
        assert refused.value.code == "release-withdrawn"
    assert shop.fetch("1.1.0").release.version == "1.1.0"
    with shop.open() as reader:
        assert reader.fetch(NAME, "1.0.0", withdrawn=True).files == bundle("1.0.0").files

    shop.withdraw("bias", "1.0.0")
    assert code_of(lambda: shop.fetch("1.1.0")) == "release-withdrawn"
    assert code_of(lambda: shop.release("1.2.0")) == "release-withdrawn"  # it has the same bias 1.0.0


def test_a_patch_is_found_in_the_releases_that_readers_accept(shop: Shop) -> None:
    new_key(shop.keys, "second", "releaser", now=shop.now, days=1000)
    shop.release("1.0.0")
    shop.releaser = "second"
    shop.release("1.1.0")
    revoke_key(shop.keys, "second", now=shop.now, reason="stolen")
    shop.releaser = "releaser"

    assert code_of(lambda: shop.withdraw("tox", "1.1.0")) == "release-missing"  # that release is refused anyway
    assert len(shop.withdraw("tox", "1.0.0")) == 1


def test_only_what_was_released_and_is_not_withdrawn_can_be_withdrawn(shop: Shop) -> None:
    assert code_of(lambda: shop.withdraw("tox", "1.0.0")) == "release-missing"
    shop.release("1.0.0")
    assert code_of(lambda: shop.withdraw("tox", "2.0.0")) == "release-missing"
    assert code_of(lambda: shop.withdraw("tox", "1.0.0", " ")) == "release-invalid"
    shop.withdraw("tox", "1.0.0")
    assert code_of(lambda: shop.withdraw("tox", "1.0.0")) == "release-missing"


@pytest.mark.parametrize("role", ["author", "evaluator"])
def test_only_a_releaser_releases(shop: Shop, role: Any) -> None:
    new_key(shop.keys, "other", role, now=shop.now)
    writer = Writer(shop.keyring, load_signer(shop.keys, "other", role, now=shop.now))

    assert code_of(lambda: publish(shop.channel, bundle("1.0.0"), writer, shop.now)) == "key-role"


def test_an_expired_or_revoked_releaser_releases_nothing(shop: Shop) -> None:
    writer = shop.writer()
    shop.advance(days=1000)
    assert code_of(lambda: publish(shop.channel, bundle("1.0.0"), writer, shop.now)) == "key-expired"

    revoke_key(shop.keys, "releaser", now=shop.now, reason="stolen")
    revoked = Writer(shop.keyring, writer.signer)
    assert code_of(lambda: publish(shop.channel, bundle("1.0.0"), revoked, shop.now)) == "key-revoked"


def test_a_channel_is_renewed_before_it_expires(shop: Shop) -> None:
    shop.release("1.0.0")
    for _ in range(14):  # 406 days, past the 365 of the first root and of the first targets
        shop.advance(days=29)
        shop.renew()
        assert shop.current() == "1.0.0"
    assert shop.current(who="newcomer") == "1.0.0"


def test_a_channel_that_expired_can_be_renewed(shop: Shop) -> None:
    shop.release("1.0.0")
    shop.advance(days=500)
    assert code_of(lambda: shop.current()) == "channel-expired"

    shop.renew()
    assert shop.current() == "1.0.0"


def test_a_channel_is_handed_over_to_a_rotated_key(shop: Shop) -> None:
    shop.release("1.0.0")
    assert shop.current() == "1.0.0"
    rotate_key(shop.keys, "releaser", now=shop.now, days=1000)
    shop.release("1.1.0")
    assert shop.current() == "1.1.0"
    assert shop.current(who="newcomer") == "1.1.0"

    shop.advance(days=1)
    old = shop.keyring.named("releaser")[0]
    revoke_key(shop.keys, old.key_id, now=shop.now, reason="handed over")
    shop.renew()
    assert shop.current() == "1.1.0"
    assert shop.current(who="newcomer") == "1.1.0"
    # What the revoked key sealed counts no more.
    assert code_of(lambda: shop.fetch("1.0.0")) == "key-revoked"
    assert shop.fetch("1.1.0").release.version == "1.1.0"


def test_a_second_releaser_takes_over_from_one_whose_key_was_stolen(shop: Shop) -> None:
    new_key(shop.keys, "second", "releaser", now=shop.now, days=1000)
    shop.release("1.0.0")
    revoke_key(shop.keys, "releaser", now=shop.now, reason="stolen")
    (shop.keys / "releaser.key").unlink()
    shop.releaser = "second"

    shop.release("1.1.0")
    assert shop.current() == "1.1.0"
    assert code_of(lambda: shop.fetch("1.0.0")) == "key-revoked"


def test_a_key_that_the_channel_does_not_know_cannot_take_it(shop: Shop) -> None:
    shop.release("1.0.0")
    new_key(shop.keys, "second", "releaser", now=shop.now, days=1000)
    (shop.keys / "releaser.key").unlink()
    shop.releaser = "second"

    assert code_of(lambda: shop.release("1.1.0")) == "channel-keys"
    assert shop.current() == "1.0.0"


def test_a_writer_that_is_killed_at_any_write_leaves_the_channel_as_it_was(
    shop: Shop,
) -> None:
    shop.release("1.0.0")
    shop.release("1.1.0")
    rotate_key(shop.keys, "releaser", now=shop.now, days=1000)  # so that a root is written too
    kills = 0
    for kills in kills_at_every_write(lambda: shop.rollback("1.0.0")):
        # Until the timestamp is written the former version counts; behind a new root it must still be readable.
        assert shop.current(who=f"reader-{kills}") == "1.1.0"

    assert kills == 5  # history, targets, snapshot, root, timestamp
    assert shop.current(who="reader-1") == "1.0.0"


def test_a_first_release_that_was_killed_can_be_repeated(shop: Shop) -> None:
    with pytest.raises(Killed), killed_when(at_the_timestamp):
        shop.release("1.0.0")
    assert code_of(lambda: shop.current()) == "channel-unreachable"

    shop.release("1.0.0")
    assert shop.current() == "1.0.0"


def test_a_damaged_channel_is_not_written_to(shop: Shop) -> None:
    shop.release("1.0.0")
    for path in sorted((shop.channel / "metadata").iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole.replace(b'"version": 1', b'"version": 7', 1))
        assert code_of(lambda: shop.release("1.1.0")) in ("channel-invalid", "channel-keys"), path
        path.write_bytes(b"{}")
        assert code_of(lambda: shop.release("1.1.0")) == "channel-invalid", path
        path.write_bytes(whole)
    (history,) = (shop.channel / "targets" / NAME).glob("*.history.json")
    whole = history.read_bytes()
    history.write_bytes(whole + b"\n")
    assert code_of(lambda: shop.release("1.1.0")) == "channel-invalid"
    history.write_bytes(whole)
    shop.release("1.1.0")


@contextmanager
def served(folder: Path, *, failing: str = "", answer: str = "") -> Iterator[str]:
    """Yield the address of a small web server over a folder, which fails for files whose name has that ending."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

        def do_GET(self) -> None:
            if not failing or not self.path.endswith(failing):
                super().do_GET()
            elif answer == "error":
                self.send_error(500)
            else:
                self.send_response(200)
                self.send_header("Content-Length", "100")
                self.end_headers()
                self.wfile.write(b"{")
                self.close_connection = True

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_any_web_server_can_serve_a_channel(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    shop.release("1.0.0")
    with served(shop.channel) as address:
        assert shop.fetch(source=address).files == bundle("1.0.0").files
        shop.release("1.1.0")
        assert shop.current(f"{address}/") == "1.1.0"
        assert code_of(lambda: shop.current(f"{address}/nowhere", who="lost")) == "channel-keys"
    assert code_of(lambda: shop.current(address)) == "channel-unreachable"


def test_a_web_server_that_fails_or_breaks_off_is_said(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    shop.release("1.0.0")
    for failing in ("root.json", "timestamp.json", "compose.lock"):
        for answer in ("error", "break off"):
            with served(shop.channel, failing=failing, answer=answer) as address:
                who = f"{failing}-{answer}".replace(" ", "-")
                refused = code_of(lambda address=address, who=who: shop.fetch(source=address, who=who))  # type: ignore[misc]
                assert refused == "channel-unreachable", (failing, answer)


def test_a_folder_may_be_given_as_an_address(shop: Shop) -> None:
    shop.release("1.0.0")

    assert shop.current(shop.channel.as_uri()) == "1.0.0"
    assert code_of(lambda: shop.current(str(shop.root / "nowhere"), who="lost")) == "channel-keys"


def test_each_channel_is_remembered_by_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMPOSE_STATE", str(tmp_path))

    assert default_state("https://a.example/x") == default_state("https://a.example/x/")
    assert default_state("https://a.example/x") != default_state("https://a.example/y")
    assert default_state("x").parent == tmp_path / "channels"
    monkeypatch.delenv("COMPOSE_STATE")
    assert default_state("x").parent.name == "channels"
