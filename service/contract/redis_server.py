"""The private Redis that jobs and service share when MMGREC_REDIS_URL names none; it lives in `<home>/redis`.

One lock file decides who starts it, and the lock is *handed to the server*, which holds it until it is dead: the kernel
releases it even after SIGKILL. So a free lock proves that nobody writes the data; a taken one, that a server is coming
up, up, or going down. The file also holds the socket's path, because processes differ in what their temp folder is.
"""

import hashlib
import importlib.util
import os
import shlex
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from service.contract.redis_binary import NoRedisBinaryError, find_binary

DEFAULT_HOME = Path("~/.local/share/mmgrec")  # $XDG_DATA_HOME/mmgrec where that is set
START_LIMIT_SECONDS = 60.0  # enough to load a few GB of append-only file
_POLL_SECONDS = 0.02
_SOCKET_PATH_BYTES = 100  # the system takes 107 on Linux and 103 on macOS; Redis 6.2 cuts a longer one off silently
_OTHERWISE = "or set MMGREC_REDIS_URL to a Redis of your own"
# appendfsync: with `everysec` Redis may postpone its write() behind a running fsync, and SIGKILL would then lose
# acknowledged writes. aof-load-truncated: a kill can leave half a command at the end, which was never acknowledged.
# daemonize: no child of ours, it outlives its starter. Relative names: a home can be moved under a running server.
_OPTIONS = shlex.split(
    "--port 0 --unixsocketperm 700 --appendonly yes --appendfsync always --aof-load-truncated yes --save '' "
    "--daemonize yes --dir . --pidfile redis.pid --logfile redis.log"
)


class RedisServerError(RuntimeError):
    """The private Redis cannot be found, started, reached or stopped; the message says what to do."""


def ensure_server(home: Path) -> str:
    """Give the URL of the Redis server of `home`, starting it if none is up; any number of processes may call at once.

    Args:
        home: folder of everything MMGRec keeps on this machine, made if absent; `DEFAULT_HOME` follows XDG_DATA_HOME.

    Returns:
        `unix:///...sock`, for `redis.Redis.from_url`. The server there has answered PING and serves `home`.

    Raises:
        RedisServerError: no usable binary, unusable home, a failed start, or no answer within START_LIMIT_SECONDS.
    """
    folder = _data_folder(home)
    try:
        _make_private(folder, elsewhere="choose another --home")
        return "unix://" + quote(str(_wait_for_server(folder)))
    except OSError as error:
        raise RedisServerError(f"no Redis in {folder}: {error}; choose another --home, {_OTHERWISE}") from error


def stop_server(home: Path) -> bool:
    """Shut the Redis server of `home` down cleanly, even if that folder was deleted under it.

    Returns:
        True if one was running, False if there was none.

    Raises:
        RedisServerError: a server is alive but cannot be reached, or refuses to stop.
    """
    folder = _data_folder(home)
    deadline = time.monotonic() + START_LIMIT_SECONDS
    try:
        while True:
            address = _address(folder)
            with suppress(FileNotFoundError, ConnectionError):
                served = _served_folder(address)
                if not served or _is_same(served, folder):
                    _shut_down(address)
                    return True
            if not folder.exists():
                return False
            with _lock(folder) as lock:
                if lock is not None:
                    return False
            if time.monotonic() > deadline:  # nobody answers, yet one is alive: neither coming up nor going down
                raise _failure(folder, f"alive, but nothing answers at {address}: kill it, its id is in redis.pid")
            time.sleep(_POLL_SECONDS)
    except OSError as error:
        raise RedisServerError(f"the Redis of {folder} cannot be stopped: {error}; see its redis.log") from error


def resolve_home(home: Path) -> Path:
    """The absolute folder that `home` means: `DEFAULT_HOME` follows XDG_DATA_HOME, `~` is expanded.

    Resolved once or again, here or in another process, it stays the same folder.

    Raises:
        RedisServerError: no home folder of this user is known, or links go in a circle.
    """
    shared = Path(os.environ.get("XDG_DATA_HOME", ""))
    if home == DEFAULT_HOME and shared.is_absolute():
        home = shared / "mmgrec"
    try:
        return home.expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise RedisServerError(f"home {home}: {error}; choose another --home, {_OTHERWISE}") from error


def _data_folder(home: Path) -> Path:
    if importlib.util.find_spec("fcntl") is None:
        raise RedisServerError("the private Redis needs Linux or macOS (no fcntl here): set MMGREC_REDIS_URL")
    return resolve_home(home) / "redis"


def _make_private(folder: Path, *, elsewhere: str) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_private(folder):
        is_now = f"{stat.filemode(folder.lstat().st_mode)} of uid {folder.lstat().st_uid}"
        raise RedisServerError(
            f"{folder} must be a real folder, drwx------ of uid {os.geteuid()}, but it is {is_now}: "
            f"correct or remove it, {elsewhere}, {_OTHERWISE}"
        )


def _is_private(folder: Path) -> bool:
    """Tell whether no other user can have put anything into `folder`: the data and sockets there are trusted."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


@contextmanager
def _lock(folder: Path) -> Iterator[BinaryIO | None]:
    """Hold the lock of `folder` for the block; None when another process (as a rule the server itself) has it."""
    import fcntl  # absent on Windows

    with (folder / "server.lock").open("a+b") as file:
        held: BinaryIO | None = file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = None
        yield held  # closing the file lets go, unless a server has inherited it


def _address(folder: Path) -> Path:
    """Path of the socket: as the last starter recorded it, else as a start would choose it now."""
    with suppress(FileNotFoundError):
        recorded = Path(os.fsdecode((folder / "server.lock").read_bytes()))
        if recorded.is_absolute() and _is_private(recorded.parent):
            return recorded
    return _new_address(folder)


def _new_address(folder: Path) -> Path:
    # Not in XDG_RUNTIME_DIR: that is deleted at logout, and the server lives on.
    place = Path(f"mmgrec-{os.geteuid()}", hashlib.sha256(os.fsencode(folder.parent)).hexdigest()[:16] + ".sock")
    address = Path(tempfile.gettempdir(), place)
    if len(os.fsencode(address)) > _SOCKET_PATH_BYTES:
        address = Path("/tmp", place)
    _make_private(address.parent, elsewhere="point TMPDIR to a folder of yours")
    return address


def _wait_for_server(folder: Path) -> Path:
    deadline = time.monotonic() + START_LIMIT_SECONDS
    started = False
    while True:
        address = _address(folder)
        trouble = _trouble(address, folder)
        if trouble is None:
            return address
        with _lock(folder) as lock:
            if lock is not None:
                if started:
                    raise _failure(folder, "ended while starting: mend what its log names, or move the folder away")
                _start(folder, lock)
                started = True
            elif time.monotonic() > deadline:
                cure = "try again if it is loading, else kill it, its id is in redis.pid"
                raise _failure(folder, f"alive, but after {START_LIMIT_SECONDS:g} s: {trouble}: {cure}")
        time.sleep(_POLL_SECONDS)


def _trouble(address: Path, folder: Path) -> str | None:
    """Say why the server at `address` cannot be used for `folder` now; None when it can."""
    try:
        pong = _ask(address, "PING")
        if pong != b"+PONG":  # as a rule "-LOADING Redis is loading the dataset in memory"
            return f"{address} answers {pong!r}"
        served = _served_folder(address)
        return None if _is_same(served, folder) else f"{address} serves {served or 'a deleted folder'}"
    except OSError as error:
        return f"{address}: {error}"


def _start(folder: Path, lock: BinaryIO) -> None:
    address = _new_address(folder)
    _clear(address, folder)
    lock.truncate(0)
    lock.write(os.fsencode(address))
    lock.flush()
    with (folder / "redis.log").open("ab") as log:  # takes what Redis says before it opens its own log
        subprocess.run(
            [_server_binary(folder), "--unixsocket", str(address), *_OPTIONS],
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},  # Redis 7.2 ends at a locale that is not installed
            stdout=log,
            stderr=log,
            pass_fds=[lock.fileno()],
            start_new_session=True,
            check=False,  # the caller sees a failure: the lock is free again
        )


def _clear(address: Path, folder: Path) -> None:
    """See to it that no living server has `address`, which Redis is about to take (a dead socket it replaces)."""
    try:
        served = _served_folder(address)
    except (FileNotFoundError, ConnectionError):
        return
    if served:  # a home was moved away, and this is a new one in its place
        raise RedisServerError(
            f"the Redis at {address} serves {served}, not {folder}: "
            f"stop it (redis-cli -s {address} shutdown) or choose another --home"
        )
    _shut_down(address)  # its folder was deleted: what it holds cannot outlive it any more


def _server_binary(folder: Path) -> str:
    # Redis 7 keeps its files in appendonlydir/; an older one would not look there and silently start empty.
    # (What a newer one than that wrote, Redis itself refuses to load, and says so in the log.)
    limit, reason = (6, 2), "MMGRec uses its commands"
    if (folder / "appendonlydir").exists():
        limit, reason = (7, 0), f"the data in {folder} was written by it"
    try:
        return find_binary(limit, reason)
    except NoRedisBinaryError as error:
        raise RedisServerError(f"{error}; {_OTHERWISE}") from error


def _is_same(served: str, folder: Path) -> bool:
    return served != "" and Path(served).samefile(folder)


def _served_folder(address: Path) -> str:
    """Ask a server for its working folder: "" when that was deleted."""
    reply = _ask(address, "CONFIG GET dir")
    if reply.startswith(b"-"):  # alive, so not the ConnectionError of an empty socket
        raise OSError(f"{address} answers {reply!r} to CONFIG GET dir")
    return os.fsdecode(reply)


def _shut_down(address: Path) -> None:
    try:  # the append-only file is written out in any case; NOSAVE only spares a snapshot
        reply = _ask(address, "SHUTDOWN NOSAVE", seconds=START_LIMIT_SECONDS)
    except ConnectionError:  # success has no answer: the connection ends with the server
        return
    raise RedisServerError(f"the Redis at {address} does not stop: {reply!r}; see redis.log in its folder")


def _ask(address: Path, command: str, *, seconds: float = 2.0) -> bytes:
    """Send one command; give its answer's first line, or of CONFIG GET (name and value) the value."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        connection.connect(os.fsencode(address))
        connection.sendall(command.encode() + b"\r\n")
        with connection.makefile("rb") as stream:
            line = stream.readline()
            if line.startswith(b"*"):  # *2, $3, dir, $<bytes of the value>, the value
                size = int([stream.readline() for _ in range(3)][2][1:] or 0)
                line = stream.read(size + 2)
    if not line.endswith(b"\r\n"):
        raise ConnectionResetError("the server closed the connection")
    return line[:-2]


def _failure(folder: Path, what: str) -> RedisServerError:
    log = folder / "redis.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return RedisServerError("\n  ".join([f"Redis of {folder}: {what}; {log} ends:", *lines[-6:]]))
