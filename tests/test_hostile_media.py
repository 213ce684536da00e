"""The matrix of hostile media: what is no file, names others, comes from a server that misbehaves, or is not meant."""

import contextlib
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

import videorefer_plugin as vr
from tests.hostile import draw, in_time, refuses
from tests.media import write_video
from videorefer_plugin.errors import VideoError
from videorefer_plugin.video import downloads, sources
from videorefer_plugin.video.sources import inside

SECRET = "a-word-of-mine"
PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1.6,\n{}\n#EXT-X-ENDLIST\n",
    "hls master": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{}\n",
    "concat": "ffconcat version 1.0\nfile '{}'\n",
    "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    '<Representation id="1"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "sdp": "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 9 RTP/AVP 96\r\na={}\r\n",
    "list": "file '{}'\n",
    "avisynth": 'FFVideoSource("{}")\n',
    "pls": "[playlist]\nFile1={}\nNumberOfEntries=1\n",
    "smil": '<smil><body><video src="{}"/></body></smil>',
    "asx": '<asx version="3.0"><entry><ref href="{}"/></entry></asx>',
}
SUFFIXES = (".m3u8", ".ffconcat", ".txt", ".mpd", ".sdp", ".avs", ".mp4", ".mkv", "")
TARGETS = ("a.mp4", "/etc/passwd", "http://127.0.0.1:9/a.ts", "file:///etc/passwd", "concat:a.mp4|a.mp4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("media")
    write_video(made / "a.mp4", 6, size=(32, 32))
    return made


def test_playlists_are_no_videos_whatever_they_are_called(folder):
    kinds = st.tuples(st.sampled_from(sorted(PLAYLISTS)), st.sampled_from(SUFFIXES), st.sampled_from(TARGETS))

    def write(kind: tuple[str, str, str]) -> Path:
        path = folder / f"list{kind[1]}"
        path.write_text(PLAYLISTS[kind[0]].format(kind[2]))
        return path

    def check(kind: tuple[str, str, str]) -> None:
        path = write(kind)
        refuses(VideoError, vr.open_video)(path)
        refuses(VideoError, vr.open_video)(path.read_bytes())

    assert draw(kinds, check, 70) >= 60
    with pytest.raises(VideoError, match="a list of other files or addresses, which are not opened"):
        vr.open_video(write(("hls", ".mp4", "a.mp4")))


PROTOCOLS = [
    *("concat:a.mp4|a.mp4", "subfile,,start,0,end,9,,:a.mp4", "crypto:a.mp4", "cache:a.mp4", "async:a.mp4"),
    *("fd:0", "pipe:0", "pipe:", "data:video/mp4,x", "tcp://127.0.0.1:9", "udp://127.0.0.1:9", "rtsp://127.0.0.1:9/a"),
    *("rtmp://127.0.0.1:9/a", "hls+http://127.0.0.1:9/a", "gopher://127.0.0.1:9", "md5:a.mp4", "tee:a.mp4"),
    *("s3://bucket/a.mp4", "hf://me/a.mp4", "lavfi:testsrc", "testsrc", "file:a%00b", "FILE:/dev/zero"),
]


def test_protocols_of_ffmpeg_are_no_paths(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for name in PROTOCOLS:
        refuses(VideoError, vr.open_video)(name)
        refuses(VideoError, vr.load_image)(name)
    assert len(set(PROTOCOLS)) >= 20


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes with names")
def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "link.mp4").symlink_to("/dev/zero")
    (tmp_path / "round.mp4").symlink_to("round.mp4")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "s.mp4"))
        places = ["a.mp4", "a.png", "link.mp4", "round.mp4", "s.mp4"]
        paths = [
            *(tmp_path / name for name in places),
            *map(Path, ("/dev/zero", "/dev/null", "/dev/tty", "/dev/stdin")),
        ]
        for path in paths:
            refuses(VideoError, vr.open_video)(path)
            refuses(VideoError, vr.load_image)(path)
    with pytest.raises(VideoError, match="holds no images"):
        vr.open_video(tmp_path)


# --- servers that misbehave ------------------------------------------------------------------------------------------


class Server:
    """Answers each connection on loopback with what `does` writes to it."""

    def __init__(self, does: Callable[[socket.socket, bytes], None], tls: ssl.SSLContext | None = None):
        self.does, self.asked, self._tls = does, [], tls
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http{'s' if tls else ''}://127.0.0.1:{self._socket.getsockname()[1]}/a.mp4"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._answer, args=(self._socket.accept()[0],), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            self.asked.append(_request(connection))
            self.does(connection, self.asked[-1])

    def close(self) -> None:
        self._socket.close()


def _request(connection: socket.socket) -> bytes:
    # Whole: to close a connection that holds unread bytes resets it, and the other side loses our reply.
    with connection.makefile("rb") as stream:
        head = b""
        while (line := stream.readline()) not in (b"", b"\r\n"):  # nothing: it hung up
            head += line
        length = re.search(rb"(?i)^content-length: *(\d+)", head, re.MULTILINE)
        return head + b"\r\n" + (stream.read(int(length[1])) if length else b"")


@contextlib.contextmanager
def serving(does: Any, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(does if callable(does) else lambda connection, _: connection.sendall(does), tls)
    try:
        yield server
    finally:
        server.close()


def reply(body: bytes = b"", status: str = "200 OK", *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "Connection: close", "", ""]).encode() + body


def drip(start: bytes, seconds: float = 0.02) -> Callable[[socket.socket, bytes], None]:
    def does(connection: socket.socket, _: bytes) -> None:
        connection.sendall(start)
        for _ in range(1500):
            connection.sendall(b"x")
            time.sleep(seconds)

    return does


def silent(connection: socket.socket, _: bytes) -> None:
    while connection.recv(65536):  # until it is closed
        pass


def after(start: bytes) -> Callable[[socket.socket, bytes], None]:
    def does(connection: socket.socket, _: bytes) -> None:
        connection.sendall(start)
        silent(connection, _)

    return does


def to(place: str) -> bytes:
    return reply(b"", "302 Found", f"Location: {place}", "Content-Length: 0")


MISBEHAVE: dict[str, tuple[Any, str]] = {
    "silent": (silent, "does not answer in time"),
    "silent after the status": (after(b"HTTP/1.1 200 OK\r\n"), "does not answer in time"),
    "silent after the headers": (after(reply(b"", "200 OK", "Content-Length: 100")), "does not answer in time"),
    "silent in the middle": (after(reply(b"x" * 50, "200 OK", "Content-Length: 100")), "does not answer in time"),
    "dripping headers": (drip(b"HTTP/1.1 200 OK\r\nX-A: "), "does not answer in time"),
    "dripping status": (drip(b"HTTP/1.1 200 "), "does not answer in time"),
    "dripping body": (drip(reply(b"", "200 OK", "Content-Length: 100000")), "less than 1024 bytes a second"),
    "dripping for ever": (drip(reply()), "less than 1024 bytes a second"),
    "closes at once": (lambda connection, _: None, "cannot be opened"),
    "resets": (
        lambda connection, _: connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"),
        "cannot be opened",
    ),
    "breaks off": (reply(b"x" * 50, "200 OK", "Content-Length: 100"), "cannot be opened"),
    "broken chunks": (reply(b"zz\r\nx", "200 OK", "Transfer-Encoding: chunked"), "cannot be opened"),
    "no http": (b"220 mail.example.org ESMTP\r\n", "cannot be opened"),
    "noise": (bytes(range(256)) * 4, "cannot be opened"),
    "endless header": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000, "cannot be opened"),
    "wrong encoding": (reply(b"no gzip", "200 OK", "Content-Encoding: gzip"), "cannot be opened"),
    "nothing": (reply(b"", "200 OK", "Content-Length: 0"), "is empty"),
    "a page": (reply(b"<html>log in</html>", "200 OK", "Content-Type: text/html; charset=utf-8"), "is a page"),
    "text": (reply(b"hello" * 99), "cannot be opened as a video"),
    "a playlist": (reply(PLAYLISTS["hls"].format("/etc/passwd").encode()), "list of other files"),
    "too large, and says so": (reply(b"x", "200 OK", "Content-Length: 99999999999"), "too many to hold in memory"),
    "too large": (lambda connection, _: connection.sendall(reply(b"x" * 3_000_000)), "too many to hold in memory"),
    "a wrong length": (reply(b"x", "200 OK", "Content-Length: -5"), "cannot be opened"),
    "a long length": (reply(b"x", "200 OK", f"Content-Length: {'9' * 300}"), "cannot be opened"),
    "to a file": (to("file:///etc/passwd"), "leads to an address that is not http"),
    "to another protocol": (to("gopher://127.0.0.1:9/"), "leads to an address that is not http"),
    "to ftp": (to("ftp://127.0.0.1:9/a.mp4"), "leads to an address that is not http"),
    "to data": (to("data:video/mp4;base64,AAAA"), "cannot be opened"),
    "to itself": (to("/a.mp4"), "leads on to more than 10 other addresses"),
    "to nowhere": (to("http://127.0.0.1:9/"), "cannot be opened"),
    "to no address": (to("http://[::1"), "cannot be opened"),
    "nothing new": (reply(b"", "304 Not Modified"), "answers 304"),
    "a part": (reply(b"x", "206 Partial Content"), "answers 206"),
    "no reason": (reply(b"x", "599 "), "answers 599"),
    **{
        f"status {status}": (reply(b"no", f"{status} Said"), f"answers {status} Said")
        for status in (204, 400, 401, 402, 403, 404, 405, 407, 410, 429, 451, 500, 501, 502, 503, 504)
    },
}


@pytest.fixture
def quick(monkeypatch):
    """Limits as they are, in less time and of less."""
    monkeypatch.setattr(downloads, "CONNECT_SECONDS", 0.3)
    monkeypatch.setattr(downloads, "SILENT_SECONDS", 0.3)
    monkeypatch.setattr(downloads, "MAX_STREAM_BYTES", 2_000_000)


@pytest.mark.spread(2)
@pytest.mark.parametrize("case", MISBEHAVE)
def test_a_server_that_misbehaves(case, quick):
    does, said = MISBEHAVE[case]
    with serving(does) as server:
        address = server.address.replace("://", f"://me:{SECRET}@") + f"?token={SECRET}"
        began = time.monotonic()
        with in_time(), pytest.raises(VideoError, match=said) as caught:
            vr.open_video(address)
    assert time.monotonic() - began < 10
    assert SECRET not in str(caught.value)
    assert "ownload" in str(caught.value) or "damaged" in str(caught.value) or "list of" in str(caught.value)


def test_a_download_ends_as_a_whole(quick, monkeypatch):
    monkeypatch.setattr(downloads, "MOST_SECONDS", 0.5)
    monkeypatch.setattr(downloads, "SLOWEST", 1)
    with serving(drip(reply())) as server, pytest.raises(VideoError, match="does not answer in time"):
        vr.open_video(server.address)


def test_a_certificate_that_nobody_signed(quick, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    try:
        subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(reply(b"x"), context) as server:
        with pytest.raises(VideoError, match=r"(?i)cannot be opened \(.*certificate"):
            vr.open_video(server.address)
        assert not server.asked


ADDRESSES = [
    *("http://", "https://", "http:///a.mp4", "http://:80/a.mp4", "http://127.0.0.1:99999/a.mp4", "http://a b/a.mp4"),
    *(
        "http://127.0.0.1:port/a.mp4",
        "http://[::1/a.mp4",
        "http://a..b/a.mp4",
        f"http://{'a' * 99}/a.mp4",
        "http://@/",
    ),
    *("http://127.0.0.1:9/a.mp4", "http://me:a-word-of-mine@127.0.0.1:9/a.mp4", "http://127.0.0.1:0/a.mp4"),
    *("http://me:a-word-of-mine@127.0.0.1:99999/", "http://\ud800/a.mp4", "http://127.0.0.1:9/\ud800", "http://%/"),
    *(
        "http://127.0.0.1:9/a\nb",
        "http://127.0.0.1:9\\a",
        "http://me:a-word/-of-mine@h:1/",
        "http://\u2028/",
        "http://*/",
    ),
    *("HTTP://127.0.0.1:9/?key=a-word-of-mine", "http://127.0.0.1:9/#a-word-of-mine", "https://127.0.0.1:9/a.mp4"),
]


def test_addresses_that_lead_nowhere(quick):
    for address in ADDRESSES:
        with in_time(), pytest.raises(VideoError) as caught:
            vr.open_video(address)
        assert "word" not in str(caught.value)
    assert len(set(ADDRESSES)) >= 25


def test_a_video_behind_an_address_is_as_a_file(folder):
    content = (folder / "a.mp4").read_bytes()
    with serving(reply(content, "200 OK", f"Content-Length: {len(content)}")) as server:
        address = server.address.replace("://", f"://me:{SECRET}@")
        video = vr.open_video(address)
        assert (video.read([0, 5]) == vr.open_video(folder / "a.mp4").read([0, 5])).all()
        assert video.path == server.address
        assert SECRET not in repr(video)
        assert b"authorization: basic" in server.asked[0].lower()  # only its own server is told
    with serving(reply(content)) as other, serving(to(other.address)) as server:
        vr.open_video(server.address.replace("://", f"://me:{SECRET}@"))
        assert b"authorization" not in other.asked[0].lower()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_an_interruption_is_heard_while_a_server_is_silent():
    program = "import sys, videorefer_plugin as vr\nprint('on', flush=True)\nvr.open_video(sys.argv[1])"
    with serving(silent) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", program, server.address], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 60
        while not server.asked and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(2)
        began = time.monotonic()
        _, said = process.communicate(timeout=25)
    assert "KeyboardInterrupt" in said
    assert time.monotonic() - began < 10


# --- names that lead out of a folder ---------------------------------------------------------------------------------

OUTSIDE = [
    *("../a.mp4", "../../etc/passwd", "b/../../a.mp4", "/etc/passwd", "//etc/passwd", "~/a.mp4", "~root/a.mp4"),
    *(
        "C:/a.mp4",
        "C:\\a.mp4",
        "\\\\server\\a.mp4",
        "..\\a.mp4",
        "b/..",
        "..",
        "link/a.mp4",
        "link",
        "deep/link/a.mp4",
    ),
    *("", "a\0b", "\ud800", "x" * 5000, "file:///etc/passwd", "file:a.mp4", "http://h/a.mp4", "data:video/mp4,x"),
    *("S3://b/a.mp4", "./../a.mp4", "b/./../../x", None, 5, b"a.mp4", ["a.mp4"], "a.mp4/../../x", "loop/../../x"),
]


def test_names_that_lead_out_of_a_folder_are_refused(tmp_path):
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path)
    (root / "deep" / "link").symlink_to("../../..")
    (root / "loop").symlink_to("loop")
    (root / "here").symlink_to("deep")
    for name in OUTSIDE:
        refuses(VideoError, lambda value: inside(root, value))(name)
    for name in ("a.mp4", "deep/a.mp4", "here/a.mp4", "./a.mp4", "..a.mp4", "a..b/c.mp4", "ü.mp4"):
        assert inside(root, name) == os.path.realpath(root / name)
    assert len(OUTSIDE) >= 30


def test_open_files_that_never_end_are_given_up(monkeypatch):
    monkeypatch.setattr(sources, "MAX_STREAM_BYTES", 1 << 22)
    with open("/dev/zero", "rb") as endless, pytest.raises(VideoError, match="too many to hold in memory"):
        vr.open_video(endless)
