"""Hub assets against a prepared hub cache and a small hub on this machine; no test leaves it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from compose.assets import Hub, fetch
from compose.errors import Rejected

COMMIT = "c" * 40
FILES = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "pytorch_model.bin": b"pickle",
    "original/params.json": b"{}",
    "consolidated.safetensors": b"copy",
}


class Handler(BaseHTTPRequestHandler):
    """As much of the hub as its client asks for: a repository's description and its files."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        if self.path.startswith("/api/models/owner/name/tree/"):
            files = [{"type": "file", "path": name, "size": len(body), "oid": "0" * 40} for name, body in FILES.items()]
            return self.send(json.dumps(files).encode())
        if self.path.startswith("/api/models/owner/name/"):
            tree = [{"rfilename": name} for name in FILES]
            return self.send(json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": tree}).encode())
        name = self.path.partition("/owner/name/resolve/")[2].partition("/")[2]
        if name in FILES:
            return self.send(FILES[name])
        self.send(b"{}", status=404, extra={"X-Error-Code": "RepoNotFound"})

    def send(self, body: bytes, status: int = 200, extra: dict[str, str] | None = None) -> None:
        self.send_response(status)
        headers = {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT}
        headers["ETag"] = f'"{hashlib.sha256(body).hexdigest()}"'
        for key, value in {**headers, **(extra or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("COMPOSE_OFFLINE", raising=False)
    return tmp_path / "hub"


@pytest.fixture
def hub(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    yield
    server.shutdown()
    server.server_close()


def prepare(hub_cache: Path, name: str, data: bytes) -> None:
    """Put one file of owner/name into the hub's cache, as a download would."""
    repository = hub_cache / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "snapshots" / COMMIT).mkdir(parents=True)
    (repository / "snapshots" / COMMIT / name).write_bytes(data)


@pytest.mark.usefixtures("hub")
def test_a_model_repository_comes_without_pickles_and_without_second_copies() -> None:
    folder = fetch(Hub(repo="owner/name"))
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.usefixtures("hub")
def test_one_file_is_fetched_and_checked() -> None:
    pinned = hashlib.sha256(b"weights").hexdigest()
    assert fetch(Hub(repo="owner/name", file="model.safetensors", sha256=pinned)).read_bytes() == b"weights"


@pytest.mark.usefixtures("hub")
def test_a_corrupt_cached_file_is_fetched_again() -> None:
    asset = Hub(repo="owner/name", file="model.safetensors", sha256=hashlib.sha256(b"weights").hexdigest())
    fetch(asset).resolve().write_bytes(b"rotten!")
    assert fetch(asset).read_bytes() == b"weights"


@pytest.mark.usefixtures("hub")
def test_a_file_with_other_bytes_than_pinned_is_refused() -> None:
    with pytest.raises(Rejected, match="asset-digest"):
        fetch(Hub(repo="owner/name", file="model.safetensors", sha256="0" * 64))


@pytest.mark.usefixtures("hub")
def test_a_repository_that_is_not_there_says_what_to_fetch_and_where_to_put_it(hub_cache: Path) -> None:
    with pytest.raises(Rejected) as caught:
        fetch(Hub(repo="other/name"))
    assert caught.value.code == "asset-missing"
    assert "hf download other/name --revision main" in caught.value.fix
    assert "models--other--name" in caught.value.fix
    assert str(hub_cache) in caught.value.fix


def test_offline_the_hubs_own_cache_is_used(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE_OFFLINE", "1")
    prepare(hub_cache, "config.json", b"{}")
    assert fetch(Hub(repo="owner/name", file="config.json")).read_bytes() == b"{}"
    assert fetch(Hub(repo="owner/name")) == hub_cache / "models--owner--name" / "snapshots" / COMMIT


def test_offline_a_corrupt_file_is_refused(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE_OFFLINE", "1")
    prepare(hub_cache, "config.json", b"rotten")
    with pytest.raises(Rejected, match="asset-digest"):
        fetch(Hub(repo="owner/name", file="config.json", sha256=hashlib.sha256(b"{}").hexdigest()))


@pytest.mark.parametrize("switch", ["COMPOSE_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_what_is_not_cached_is_missing(hub_cache: Path, monkeypatch: pytest.MonkeyPatch, switch: str) -> None:
    monkeypatch.setenv(switch, "1")
    with pytest.raises(Rejected, match="asset-missing"):
        fetch(Hub(repo="owner/name"))
    with pytest.raises(Rejected, match=r"hf download owner/data x\.jsonl --repo-type dataset --revision v1"):
        fetch(Hub(repo="owner/data", file="x.jsonl", revision="v1", repo_type="dataset"))


def test_a_name_that_the_hub_does_not_allow_is_a_mistake_in_the_settings(hub_cache: Path) -> None:
    with pytest.raises(Rejected, match="settings-invalid"):
        fetch(Hub(repo="owner/two--dashes"))


def test_a_full_disk_is_reported_as_such(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("compose.assets.hub.snapshot_download", full)
    with pytest.raises(Rejected, match="disk-full"):
        fetch(Hub(repo="owner/name"))
