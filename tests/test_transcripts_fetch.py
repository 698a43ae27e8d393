"""IIIF manifests, and their images from a server in this process."""

from __future__ import annotations

import io
import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from drawn import speckled
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from linkage.cli import app
from linkage.errors import InputError, UsageError
from linkage.scans import download
from linkage.scans.download import DownloadClient, web_url
from linkage.scans.fetch import fetch_images
from linkage.scans.iiif import read_manifest
from linkage.tables import read_table


def picture(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    speckled(seed).save(buffer, "JPEG")
    return buffer.getvalue()


class Library(BaseHTTPRequestHandler):
    asked: ClassVar[Counter[str]] = Counter()

    def do_GET(self) -> None:
        self.asked[self.path] += 1
        times = self.asked[self.path]
        if self.path.startswith("/busy") and times < 3:
            return self._answer(503, b"", {"Retry-After": "0"})
        if self.path.startswith("/moved"):
            return self._answer(302, b"", {"Location": "/iiif/moved.jpg"})
        if self.path.startswith("/circle"):
            return self._answer(302, b"", {"Location": self.path + "x"})
        if self.path.startswith("/secret"):
            return self._answer(302, b"", {"Location": "file:///etc/passwd"})
        if self.path.startswith("/gone"):
            return self._answer(404, b"")
        if self.path.startswith("/short"):
            return self._answer(200, picture()[:50], {"Content-Length": str(len(picture()))})
        if self.path.startswith("/words"):
            return self._answer(200, b"<html>please log in</html>")
        return self._answer(200, picture())

    def _answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "*")
    Library.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Library) as library:
        threading.Thread(target=library.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{library.server_port}"
        library.shutdown()


def version_2(*images: dict[str, Any] | str) -> dict[str, Any]:
    canvases = [
        {
            "@id": f"https://example.org/canvas/{n}",
            "label": f"f. {n}r",
            "images": [{"resource": {"@id": image} if isinstance(image, str) else image}],
        }
        for n, image in enumerate(images, start=1)
    ]
    return {"@id": "https://example.org/two", "label": [{"@value": "A book"}], "sequences": [{"canvases": canvases}]}


def version_3(*bodies: Any) -> dict[str, Any]:
    items = [
        {
            "id": f"https://example.org/canvas/{n}",
            "type": "Canvas",
            "label": {"none": [f"page {n}"]},
            "items": [{"type": "AnnotationPage", "items": [{"type": "Annotation", "body": body}]}],
        }
        for n, body in enumerate(bodies, start=1)
    ]
    return {"id": "https://example.org/three", "type": "Manifest", "label": {"en": ["A", "B"]}, "items": items}


def save(folder: Path, manifest: Any) -> Path:
    path = folder / "manifest.json"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return path


def test_both_versions_of_manifests_and_three_of_services(tmp_path: Path) -> None:
    profile = "http://iiif.io/api/image/2/level2.json"
    native = {"@id": "http://x/s1", "@context": "http://library.stanford.edu/iiif/image-api/1.1/context.json"}
    two = version_2(
        {"@id": "http://x/1.jpg", "service": {"@id": "http://x/s/", "profile": [profile, {}]}},
        {"@id": "http://x/2.jpg", "service": native},
        "http://x/3.PNG",
        {"@type": "oa:Choice", "default": {"@id": "http://x/4.tif"}, "item": []},
    )
    manifest = read_manifest(save(tmp_path, two))
    assert (manifest.id, manifest.label) == ("https://example.org/two", "A book")
    assert [canvas.request(None) for canvas in manifest.canvases] == [
        "http://x/s/full/full/0/default.jpg",
        "http://x/s1/full/full/0/native.jpg",
        "http://x/3.PNG",
        "http://x/4.tif",
    ]
    three = version_3(
        {"id": "http://x/1.jpg", "service": [{"id": "http://x/s", "type": "ImageService3", "profile": "level1"}]},
        {"type": "Choice", "items": [{"id": "http://x/2.jpg"}, {"id": "http://x/no.jpg"}]},
        [{"id": "http://x/3.jpg", "service": {"@id": "http://x/old", "@type": "ImageService2", "profile": profile}}],
        {"type": "TextualBody", "value": "nothing painted"},
    )
    canvases = read_manifest(save(tmp_path, three)).canvases
    assert [canvas.request(1200) for canvas in canvases] == [
        "http://x/s/full/1200,/0/default.jpg",
        "http://x/2.jpg",
        "http://x/old/full/1200,/0/default.jpg",
        "",
    ]
    assert canvases[0].request(None) == "http://x/s/full/max/0/default.jpg"
    assert [canvas.label for canvas in canvases] == ["page 1", "page 2", "page 3", "page 4"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"items": []}', "[" * 100_000, '{"sequences": [{"canvases": 3}]}']
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(InputError, match=r"m\.json: "):
        read_manifest(tmp_path / "m.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from("id @id label items images resource body service type profile default canvases".split()),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@given(canvases=st.lists(json_values, max_size=4))
def test_odd_manifests_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, canvases: list[Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "odd.json"
    for manifest in ({"items": canvases}, {"sequences": [{"canvases": canvases}]}):
        path.write_text(json.dumps(manifest))
        try:
            for canvas in read_manifest(path).canvases:
                assert all(isinstance(text, str) for text in (canvas.id, canvas.label, canvas.request(5)))
        except InputError:
            pass


def test_images_are_fetched_once(server: str, tmp_path: Path) -> None:
    service = {"@id": f"{server}/iiif/a b", "profile": "http://iiif.io/api/image/2/level2.json"}
    manifest = save(
        tmp_path, version_2({"@id": "x", "service": service}, f"{server}/busy/2.png", f"{server}/moved/3.jpg")
    )
    out = tmp_path / "scans"
    quick = DownloadClient(pause=0)
    counts = fetch_images(manifest, out, width=800, downloads=quick)
    assert counts == {"canvases": 3, "fetched": 3, "there": 0, "set_aside": 0}
    table = read_table(out / "canvases.csv")
    assert table["source"].tolist() == ["0001_f._1r.jpg", "0002_f._2r.png", "0003_f._3r.jpg"]
    assert table["image_url"][0].endswith("/iiif/a b/full/800,/0/default.jpg")
    assert (out / "0001_f._1r.jpg").read_bytes() == picture()
    assert Library.asked["/busy/2.png"] == 3
    assert Library.asked["/iiif/a%20b/full/800,/0/default.jpg"] == 1
    (out / "0003_f._3r.jpg").unlink()
    assert fetch_images(manifest, out, width=800, downloads=quick)["fetched"] == 1, "only what is missing"
    with pytest.raises(UsageError, match="another manifest or size"):
        fetch_images(manifest, out, width=900, downloads=quick)
    assert fetch_images(manifest, out, width=900, overwrite=True, downloads=quick)["fetched"] == 3
    assert sorted(path.name for path in out.iterdir()) == [*table["source"], "canvases.csv", "failures.csv"]


def test_what_cannot_be_had_is_set_aside(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = ["gone", "circle", "secret", "short", "words"]
    urls = [f"{server}/{place}.jpg" for place in places]
    wrong = ["ftp://example.org/a.jpg", "data:image/png;base64,AA", "../out.jpg", "file:///etc/passwd", "", "http://"]
    manifest = save(tmp_path, version_3(*({"id": url} for url in [*urls, *wrong, f"{server}/good.jpg"])))
    out = tmp_path / "scans"
    with pytest.raises(InputError, match="11 of 12 images were set aside"):
        fetch_images(manifest, out, downloads=DownloadClient(pause=0))
    reasons = read_table(out / "failures.csv")["reason"].tolist()
    expected = (
        ["answers 404", "answers 302", "answers 302", "no answer", "not an image"]
        + ["no http or https"] * 2
        + ["outside the folder"] * 2
        + ["no image", "no http or https"]
    )
    assert all(part in reason for part, reason in zip(expected, reasons, strict=True)), reasons
    assert Library.asked["/gone.jpg"] == 1 and Library.asked["/short.jpg"] == 4
    assert [path.name for path in out.glob("*.jpg")] == ["0012_page_12.jpg"]
    monkeypatch.setattr(download, "MAX_BYTES", 10)
    with pytest.raises(InputError, match="larger than"):
        DownloadClient(pause=0).fetch(f"{server}/good.jpg", out / "large.jpg")
    assert not (out / "large.jpg").exists()


def test_files_beside_the_manifest_need_no_request(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "one two.png").write_bytes(picture())
    manifest = save(tmp_path, version_3({"id": "images/one%20two.png"}, {"id": "file:images/one two.png"}))
    assert fetch_images(manifest, tmp_path / "scans")["fetched"] == 2


def test_a_list_makes_no_request(server: str, tmp_path: Path) -> None:
    manifest = save(tmp_path, version_3({"id": f"{server}/good.jpg"}))
    shown = CliRunner().invoke(app, ["fetch", str(manifest), "--list"])
    assert shown.exit_code == 0 and "page 1" in shown.stdout
    listed = json.loads(CliRunner().invoke(app, ["fetch", str(manifest), "--list", "--json"]).stdout)
    assert listed[0]["image_url"] == f"{server}/good.jpg"
    assert not Library.asked
    assert isinstance(CliRunner().invoke(app, ["fetch", str(manifest)]).exception, UsageError)
    done = CliRunner().invoke(app, ["fetch", str(manifest), "--out", str(tmp_path / "scans"), "--json"])
    assert json.loads(done.stdout)["fetched"] == 1


@given(st.text(max_size=40))
def test_only_web_addresses_are_asked_for(text: str) -> None:
    for url in (text, "http://" + text, "https:" + text):
        try:
            asked = web_url(url)
        except InputError:
            continue
        assert asked.isascii() and asked.startswith(("http://", "https://")) and not set(asked) & set(" \r\n\t")
