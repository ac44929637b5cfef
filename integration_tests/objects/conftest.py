"""An object store: a server of this machine, a door before it that can be shut, and scripts."""

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = Path(__file__).parent / "programs"
NEEDED = ("moto", "flask", "flask_cors", "s3fs")
MISSING = [name for name in NEEDED if not importlib.util.find_spec(name)]
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",  # botocore's patience would be the time of these tests
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


class Server:
    """The store, as those see it who are not its clients."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.address = f"http://127.0.0.1:{port}"

    def ask(self, method: str, path: str, body: Any = None) -> str:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return str(answer.read().decode())

    def rule(self, method: str, part: str, what: Any) -> None:
        """Let requests fail from now on; no other rule is left."""
        self.ask("PUT", "/-/rules", [{"method": method, "part": part, "what": what}])

    def fail(self, method: str, part: str, status: int = 500, code: str = "InternalError") -> None:
        """Let requests be answered by an error."""
        body = f"<Error><Code>{code}</Code><Message>this is a test</Message></Error>"
        self.rule(method, part, {"status": status, "body": body})

    def behave(self) -> None:
        """Let nothing fail."""
        self.ask("PUT", "/-/rules", [])

    def wait_for_hung(self, count: int) -> None:
        """Wait until so many requests have hung since it was started."""
        until = time.monotonic() + 60
        while int(self.ask("GET", "/-/hung")) < count:
            assert time.monotonic() < until, "no request hangs"
            time.sleep(0.02)

    @property
    def hung(self) -> int:
        return int(self.ask("GET", "/-/hung"))


class Door:
    """What connections to the server go through; it can be shut, also in the midst of one."""

    def __init__(self, port: int) -> None:
        self._inner = port
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._left: int | None = None
        self._serve()

    def open(self) -> None:
        self._left = None
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._serve()

    def shut(self) -> None:
        """Refuse connections, and break off those there are."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def shut_after(self, count: int) -> None:
        """Shut it when so many more bytes have gone in."""
        self._left = count

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._inner))
                self._open += [client, server]
                for ends in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, inwards: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 14):
                if inwards and self._left is not None:
                    self._left -= len(data)
                    if self._left < 0:
                        self.shut()
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture(scope="session")
def session_server() -> Iterator[Server]:
    if MISSING:
        pytest.skip(f"not installed: {', '.join(MISSING)}; hatch run objects:test has them")
    command = [sys.executable, str(PROGRAMS / "server.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Server(int(process.stdout.readline()))
        process.stdin.close()
        process.wait(20)


@pytest.fixture(autouse=True)
def server(session_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The store, to which clients find by their environment."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": session_server.address}.items():
        monkeypatch.setenv(name, value)
    session_server.behave()
    yield session_server
    session_server.behave()


@pytest.fixture
def options(server: Server) -> dict[str, Any]:
    """What says where the store is, for those who do not look into the environment."""
    return {
        "endpoint_url": server.address,
        "key": "somebody",
        "secret": "secret",
        "client_kwargs": {"region_name": "eu-central-1"},
    }


@pytest.fixture
def door(server: Server) -> Iterator[Door]:
    found = Door(server.port)
    yield found
    found.shut()


@pytest.fixture
def by_door(options: dict[str, Any], door: Door) -> dict[str, Any]:
    """Options for the way through the door, with little patience."""
    return {
        **options,
        "endpoint_url": f"http://127.0.0.1:{door.port}",
        "config_kwargs": {"connect_timeout": 2, "read_timeout": 5},
    }


@pytest.fixture
def s3(options: dict[str, Any]) -> Any:
    """The client itself, which keeps no listings: to look, and to do harm."""
    import s3fs

    return s3fs.S3FileSystem(use_listings_cache=False, **options)


@pytest.fixture
def bucket(s3: Any, request: pytest.FixtureRequest) -> str:
    """The URL of an empty bucket."""
    name = f"b{abs(hash(request.node.nodeid))}"
    if s3.exists(name):
        s3.rm(name, recursive=True)
    s3.mkdir(name)
    return f"s3://{name}"


class Script:
    """A script in a process of its own, and what it wrote."""

    def __init__(self, folder: Path, program: str, given: Any) -> None:
        folder.mkdir()
        self.folder = folder
        command = [sys.executable, str(PROGRAMS / f"{program}.py"), json.dumps(given)]
        with (folder / "told").open("w") as told:
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=told, stderr=told, start_new_session=True
            )

    def wait(self, seconds: float = 90) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the script hangs: {self.told}") from None

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)

    @property
    def told(self) -> str:
        return (self.folder / "told").read_text()


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Callable[..., Script]]:
    """Starts a program with what it is given. It ends with the test."""
    started: list[Script] = []

    def start(program: str, **given: Any) -> Script:
        started.append(Script(tmp_path / f"script-{len(started)}", program, given))
        return started[-1]

    yield start
    for one in started:
        one.kill()
