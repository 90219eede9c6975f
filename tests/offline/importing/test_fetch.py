"""Public datasets from a server of the test's own, and from files that were downloaded by hand."""

import gzip
import io
import json
import socket
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import polars as pl
import pytest

from offline.errors import BadInputError, JobError
from offline.file_digest import sha256_of_file
from offline.importing import downloads
from offline.importing.downloads import WebFile, download
from tests.offline.importing.sources import bytes_of, items_of, json_lines, log_of, no_leftovers, text_file
from tests.offline.importing.test_formats import REVIEWS_2014, movielens_100k


class Web:
    """Files by path, and how the server behaves."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut_after: int | None = None
        self.ranges: list[str | None] = []
        self.etag = '"one"'
        self.address = ""


class Handler(BaseHTTPRequestHandler):
    def __init__(self, web: Web, *arguments) -> None:
        self.web = web
        super().__init__(*arguments)

    def do_GET(self) -> None:
        content, wanted = self.web.files.get(self.path), self.headers.get("Range")
        self.web.ranges.append(wanted)
        if content is None:
            self.send_error(404)
            return
        resumed = wanted is not None and self.headers.get("If-Range") == self.web.etag
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if resumed and wanted else 0
        self.send_response(206 if resumed else 200)
        self.send_header("ETag", self.web.etag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + self.web.cut_after] if self.web.cut_after else content[start:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[Web]:
    found = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, found))
    found.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def zip_of(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return held.getvalue()


@pytest.fixture
def movielens(tmp_path: Path) -> bytes:
    folder = movielens_100k(tmp_path / "raw")
    return zip_of({f"ml-100k/{name}": (folder / name).read_bytes() for name in ("u.data", "u.item")})


LASTFM = {
    "user_artists.dat": "userID\tartistID\tweight\n"
    + "".join(f"{user}\t{artist}\t{user + artist}\n" for user in range(2, 8) for artist in (51, 52))
    + "2\t53\t1\n3\t54\t7\n",
    "artists.dat": "id\tname\turl\tpictureURL\n51\tDuran Duran\thttp://a\thttp://p\n52\tMorcheeba\thttp://b\thttp://q\n"
    '53\t"Air\thttp://c\t\n54\tNobody\thttp://d\t\n',
    "tags.dat": "tagID\ttagValue\n1\tpop\n2\tcafé\n",
    "user_taggedartists.dat": "userID\tartistID\ttagID\tday\tmonth\tyear\n"
    "2\t51\t2\t1\t4\t2009\n3\t51\t1\t1\t4\t2009\n4\t51\t1\t1\t4\t2009\n2\t53\t1\t1\t4\t2009\n2\t52\t1\t1\t4\t2009\n",
}


def test_movielens_from_the_web(job, tmp_path: Path, web: Web, movielens: bytes) -> None:
    web.files["/mirror/ml-100k.zip"] = movielens
    call = ("fetch", "movielens-100k", "--accept-licence", "--url", f"{web.address}/mirror")
    ended = job(*call, "--data", tmp_path / "one" / "ml")
    assert (ended.result["kept"], ended.result["items"]) == (2, 3)
    assert "acknowledge the use in publications" in ended.err
    assert items_of(tmp_path / "one" / "ml")["242"]["categories"] == ["Comedy"]
    record = json.loads((tmp_path / "one" / "ml" / "import.json").read_text())
    (source,) = record["imports"][0]["sources"]
    text_file(tmp_path / "same.zip", "").write_bytes(movielens)
    assert source["sha256"] == sha256_of_file(tmp_path / "same.zip")
    assert source["source"] == "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
    job(*call, "--data", tmp_path / "two" / "ml").result  # noqa: B018
    assert bytes_of(tmp_path / "one" / "ml") == bytes_of(tmp_path / "two" / "ml")
    assert no_leftovers(tmp_path / "one" / "ml")


def test_lastfm_from_a_file(job, tmp_path: Path) -> None:
    """As the folder that the project's figures stand on: tags as categories, artists of five listeners and more."""
    archive = tmp_path / "hetrec2011-lastfm-2k.zip"
    archive.write_bytes(zip_of({name: text.encode("latin-1") for name, text in LASTFM.items()}))
    result = job("fetch", "lastfm-2k", "--accept-licence", "--from", archive, "--data", tmp_path / "fm").result
    assert items_of(tmp_path / "fm") == {
        "artist-51": {"title": "Duran Duran", "categories": ["café", "pop"], "image_url": "http://p"},
        "artist-52": {"title": "Morcheeba", "categories": ["pop"], "image_url": "http://q"},
    }
    assert result["dropped"] == {"below --k-core": 1, "unknown item": 1}
    assert log_of(tmp_path / "fm")[:2] == [("user-2", "artist-51", 53.0), ("user-2", "artist-52", 54.0)]


def beauty() -> list[dict]:
    """Five users and five items, all with all, plus one who is not in the 5-core."""
    rows = [
        {
            "reviewerID": f"A{user}",
            "asin": f"B{item}",
            "overall": 5.0,
            "unixReviewTime": 1_400_000_000 + 10 * item + user,
        }
        for user in range(5)
        for item in range(5)
    ]
    return [*rows, REVIEWS_2014[0]]


def test_amazon_beauty_holds_out_the_last_two(job, tmp_path: Path, web: Web) -> None:
    meta = [{"asin": f"B{item}", "title": f"Item {item}", "categories": [["Beauty", "Nails"]]} for item in range(9)]
    web.files["/reviews_Beauty_5.json.gz"] = gzip.compress(json_lines(beauty()).encode())
    web.files["/meta_Beauty.json.gz"] = gzip.compress("".join(f"{row}\n" for row in meta).encode())
    call = ("fetch", "amazon-beauty", "--accept-licence", "--url", web.address)
    result = job(*call, "--data", tmp_path / "beauty").result
    assert (result["users"], result["items"], result["dropped"]) == (5, 5, {"below --k-core": 1})
    log = pl.read_parquet(tmp_path / "beauty" / "interactions.parquet")
    assert log.filter(pl.col("split") == "test")["item_id"].to_list() == ["B4"] * 5
    assert log.filter(pl.col("split") == "valid")["item_id"].to_list() == ["B3"] * 5


def test_without_a_network_the_cure_is_said(job, tmp_path: Path) -> None:
    call = ("fetch", "movielens-100k", "--accept-licence", "--data", tmp_path / "ml")
    ended = job(*call, "--url", "http://127.0.0.1:9")  # nobody listens there
    assert (ended.code, ended.out) == (1, "")
    assert "ml-100k.zip: cannot be downloaded" in ended.err
    assert "download it by hand from" in ended.err
    assert "--from FILE" in ended.err
    assert not (tmp_path / "ml").exists()


def test_terms_must_be_accepted(job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    ended = job("fetch", "lastfm-2k", "--data", tmp_path / "fm")
    assert ended.code == 2
    assert "non-commercial use" in ended.err
    assert "take --accept-licence" in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2)])
def test_terms_are_asked_for_on_a_terminal(
    job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, movielens: bytes, answer: str, code: int
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    (tmp_path / "ml.zip").write_bytes(movielens)
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert job("fetch", "movielens-100k", "--from", tmp_path / "ml.zip", "--data", tmp_path / "ml").code == code
    assert (tmp_path / "ml").exists() == (code == 0)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"no zip", "is no whole zip file"),
        (zip_of({"other.txt": b""}), "holds no u.data (but other.txt)"),
        (zip_of({"ml/u.data": b"1\t2\tgood\t4\n"}), "u.data: column 'weight' (weight), row 0: 'good' is no number"),
    ],
)
def test_a_file_that_is_not_the_dataset(job, tmp_path: Path, content: bytes, named: str) -> None:
    (tmp_path / "ml.zip").write_bytes(content)
    call = ("fetch", "movielens-100k", "--accept-licence", "--data", tmp_path / "ml")
    ended = job(*call, "--from", tmp_path / "ml.zip")
    assert (ended.code, ended.out) == (2, ""), ended.err
    assert named in ended.err
    assert not (tmp_path / "ml").exists()


def test_files_by_hand_that_are_not_all_there(job, tmp_path: Path) -> None:
    (tmp_path / "reviews_Beauty_5.json.gz").touch()
    ended = job("fetch", "amazon-beauty", "--accept-licence", "--from", tmp_path, "--data", tmp_path / "x")
    assert ended.code == 2
    assert f"--from {tmp_path}: holds no meta_Beauty.json.gz; download it from http" in ended.err


def test_a_dataset_that_is_there_is_not_replaced_unasked(job, tmp_path: Path, movielens: bytes) -> None:
    (tmp_path / "ml.zip").write_bytes(movielens)
    text_file(tmp_path / "ml" / "mine.txt", "mine")
    call = ("fetch", "movielens-100k", "--accept-licence", "--from", tmp_path / "ml.zip", "--data", tmp_path / "ml")
    ended = job(*call)
    assert ended.code == 2
    assert "holds files already; take --overwrite" in ended.err
    assert job(*call, "--overwrite").result["kept"] == 2
    assert (tmp_path / "ml" / "mine.txt").read_text() == "mine"


CONTENT = bytes(range(256)) * 4000


def file_of(web: Web, **more) -> WebFile:
    return WebFile(name="f.bin", url=f"{web.address}/f.bin", **{"most_bytes": len(CONTENT), **more})


def test_a_download_goes_on_where_it_was_cut(web: Web, tmp_path: Path) -> None:
    web.files["/f.bin"], web.cut_after = CONTENT, 300_000
    with pytest.raises(JobError, match=r"ended after 300000 of 1024000 bytes; start the job again, it goes on"):
        download(file_of(web), tmp_path)
    web.cut_after = None
    assert download(file_of(web), tmp_path).read_bytes() == CONTENT
    assert web.ranges == [None, "bytes=300000-"]
    assert [path.name for path in tmp_path.iterdir()] == ["f.bin"]
    download(file_of(web), tmp_path)
    assert len(web.ranges) == 2  # it is there


def test_a_part_of_another_file_is_not_gone_on_with(web: Web, tmp_path: Path) -> None:
    web.files["/f.bin"], web.cut_after = b"x" * len(CONTENT), 300_000
    with pytest.raises(JobError):
        download(file_of(web), tmp_path)
    web.files["/f.bin"], web.cut_after, web.etag = CONTENT, None, '"two"'
    assert download(file_of(web), tmp_path).read_bytes() == CONTENT


def test_what_is_too_large_is_refused(web: Web, tmp_path: Path) -> None:
    web.files["/f.bin"] = CONTENT
    with pytest.raises(BadInputError, match=r"is larger than the 1000 bytes that f.bin may have"):
        download(file_of(web, most_bytes=1000), tmp_path)


def test_another_file_than_is_known_is_refused_and_removed(web: Web, tmp_path: Path) -> None:
    web.files["/f.bin"] = CONTENT
    with pytest.raises(BadInputError, match=r"has sha256 [0-9a-f]{64}, it should have 0000"):
        download(file_of(web, sha256="0" * 64), tmp_path)
    assert not (tmp_path / "f.bin").exists()
    assert not (tmp_path / "f.bin.part").exists()
    known = WebFile(name="f.bin", url=f"{web.address}/f.bin", most_bytes=1 << 20, sha256=None)
    digest = sha256_of_file(download(known, tmp_path))
    assert download(file_of(web, sha256=digest), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("url", "named"),
    [("file:///etc/passwd", "is no http or https address"), ("/gone.bin", "nothing is there (HTTP 404)")],
)
def test_an_address_of_nothing(web: Web, tmp_path: Path, url: str, named: str) -> None:
    with pytest.raises(BadInputError) as caught:
        download(WebFile(name="f", url=url if "://" in url else web.address + url, most_bytes=9), tmp_path)
    assert named in str(caught.value)


def test_a_server_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        file = WebFile(name="f", url=f"http://127.0.0.1:{silent.getsockname()[1]}/f.bin", most_bytes=9)
        with pytest.raises(JobError):
            download(file, tmp_path)
