"""Photographs that a server keeps: only if it is told to, once, and without their metadata."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from servers import serving

from conftest import Pomona
from pomona.images.decode import decode
from pomona.serving import photographs
from pomona.serving.photographs import Photographs
from secret_metadata import PIECES, secret_files

pytest_plugins = ("served_stores",)


def test_what_is_labelled_is_kept_without_metadata_and_named_by_feedback(
    pomona: Pomona, taught: Path, tmp_path: Path
) -> None:
    store, folder = Path(shutil.copytree(taught, tmp_path / "store")), tmp_path / "kept" / "here"
    secret = secret_files()
    with serving(store, "--keep-photographs", folder) as server:
        assert "is kept, without its metadata" in server.get("/").body.decode()
        ids = {kind: server.predict(data).content["id"] for kind, data in secret.items()}
        assert server.predict(secret["jpg"]).status == 200
        assert server.predict(b"no image").status == 422
        for kind in ("jpg", "heic"):
            judgement = json.dumps({"id": ids[kind], "confirmed": False, "label": "pear"}).encode()
            assert server.ask("POST", "/v1/feedback", judgement).status == 200
        status, log = server.stop()
    assert status == 0
    told = [line for line in log.splitlines() if "is not kept" in line]
    assert len(told) == 3, told  # AVIF, DICOM and HEIC, once each
    wanted = {
        f"{hashlib.sha256(data).hexdigest()}.{kind}": data
        for kind, data in secret.items()
        if kind not in ("avif", "dcm", "heic")
    }
    assert {path.name for path in folder.iterdir()} == wanted.keys()
    for name, sent in wanted.items():
        kept = (folder / name).read_bytes()
        assert not [piece for piece in PIECES if piece in kept], name
        assert (decode(kept).pixels == decode(sent).pixels).all()
    listed = json.loads(pomona.done("feedback", store, "--json").stdout)["feedback"]
    assert {
        entry["id"]: entry["photograph"] for entry in listed if entry["id"] in ids.values()
    } == {ids["jpg"]: f"{hashlib.sha256(secret['jpg']).hexdigest()}.jpg", ids["heic"]: None}


def test_without_the_option_none_is_kept(taught: Path, photos: Path, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    with serving(taught) as server:
        assert "answered and not kept" in server.get("/").body.decode()
        assert server.predict(min(photos.rglob("*.jpg"))).status == 200
    assert set(tmp_path.rglob("*")) == before


def test_a_disk_that_is_nearly_full_keeps_none_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    kept = Photographs(tmp_path, told.append)
    monkeypatch.setattr(photographs, "LEAST_FREE_BYTES", 10**18)
    for data in list(secret_files().values())[:3]:
        assert kept.keep(hashlib.sha256(data).hexdigest(), data) is None
    assert len(told) == 1
    assert "is free on its disk" in told[0]
    assert not list(tmp_path.iterdir())
