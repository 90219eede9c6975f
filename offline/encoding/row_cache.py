"""Vectors that are finished, kept beside the features file: a killed job goes on, the next pays for new content.

One SQLite file in `features/.<name>.part/`. A batch is one transaction, so a kill loses at most the batch under way.
Vectors are found by what was encoded (sha256 of the content) and by what (the encoder's fingerprint), never by row: a
catalogue may grow and change its order. It is only a cache: it can be removed at any time, and a damaged one is.
"""

import hashlib
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from offline import progress
from offline.encoding.encoder import FloatArray
from offline.errors import BadInputError, JobError, LockedError
from offline.file_digest import sha256_of_file

_FILE = "rows.sqlite"
_KEYS_PER_QUERY = 500
_TABLES = """
CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, crc INTEGER NOT NULL, vector BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, sha256 TEXT NOT NULL);
CREATE TEMP TABLE wanted_vectors (key BLOB PRIMARY KEY);
CREATE TEMP TABLE wanted_files (path TEXT PRIMARY KEY);
"""


def row_key(fingerprint: str, content_sha256: str) -> bytes:
    """Under which a vector is kept, 32 bytes."""
    return hashlib.sha256(f"{fingerprint} {content_sha256}".encode()).digest()


class RowCache:
    """Vectors by key, and digests of files by path, size and time of change, so that none is read twice for nothing.

    Args:
        connection: to the SQLite file, held by this process alone.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.executescript(_TABLES)

    def digest_of(self, path: Path) -> str:
        """sha256 of a file, hex; read only when its size or time of change is another than at the last time.

        Raises:
            OSError: it cannot be read.
        """
        stat = path.stat()
        row = self._connection.execute(
            "SELECT sha256 FROM files WHERE path = ? AND size = ? AND changed = ?",
            (str(path), stat.st_size, stat.st_mtime_ns),
        ).fetchone()
        digest = str(row[0]) if row else sha256_of_file(path)
        if not row:
            self._connection.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", (str(path), stat.st_size, stat.st_mtime_ns, digest)
            )
        self._connection.execute("INSERT OR IGNORE INTO wanted_files VALUES (?)", (str(path),))
        return digest

    def known(self) -> set[bytes]:
        """Keys of all vectors that are whole; damaged ones are removed."""
        whole, damaged = set(), []
        for key, crc, vector in self._connection.execute("SELECT key, crc, vector FROM vectors"):
            if zlib.crc32(vector) == crc:
                whole.add(key)
            else:
                damaged.append((key,))
        self._connection.executemany("DELETE FROM vectors WHERE key = ?", damaged)
        return whole

    def add(self, keys: Sequence[bytes], vectors: FloatArray) -> None:
        """Keep a batch of vectors [N, dim], for good once this returns."""
        blobs = [vector.astype("<f4").tobytes() for vector in vectors]
        rows = [(key, zlib.crc32(blob), blob) for key, blob in zip(keys, blobs, strict=True)]
        self._connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)
        self._connection.commit()

    def read(self, keys: Sequence[bytes]) -> Mapping[bytes, FloatArray]:
        """The vectors of those keys that are known."""
        found: dict[bytes, FloatArray] = {}
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            some = keys[start : start + _KEYS_PER_QUERY]
            query = f"SELECT key, vector FROM vectors WHERE key IN ({','.join('?' * len(some))})"
            for key, vector in self._connection.execute(query, some):
                found[key] = np.frombuffer(vector, dtype="<f4").astype(np.float32)
        return found

    def keep_only(self, keys: Iterable[bytes]) -> None:
        """Forget all vectors but these, and all files whose digest was not asked for."""
        self._connection.executemany("INSERT OR IGNORE INTO wanted_vectors VALUES (?)", ((key,) for key in keys))
        self._connection.execute("DELETE FROM vectors WHERE key NOT IN (SELECT key FROM wanted_vectors)")
        self._connection.execute("DELETE FROM files WHERE path NOT IN (SELECT path FROM wanted_files)")
        self._connection.commit()


@contextmanager
def open_row_cache(folder: Path) -> Iterator[RowCache]:
    """The cache in a folder, which is made; one process at a time has it.

    Raises:
        BadInputError: the folder cannot be made or written to.
        LockedError: another process encodes into it.
        JobError: the disk is full or breaks while the cache is in use.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        connection = _connect(folder)
    except (OSError, sqlite3.Error) as error:
        raise BadInputError(f"{folder} cannot be written ({error}); make the features folder writable") from error
    try:
        yield RowCache(connection)
        connection.commit()
    except sqlite3.Error as error:
        raise JobError(
            f"{folder / _FILE} cannot be used any more ({error}); check that the disk has room and encode again: what "
            "is finished is kept"
        ) from error
    finally:
        connection.close()


def _connect(folder: Path) -> sqlite3.Connection:
    try:
        return _locked(folder)
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise LockedError(f"another process encodes into {folder}; wait for it or take another --name") from error
        raise
    except sqlite3.DatabaseError as error:  # OperationalError is one, and was let through above
        progress.say(f"warning: {folder / _FILE} is damaged ({error}); everything is encoded again")
        for left in folder.glob(f"{_FILE}*"):
            left.unlink()
        return _locked(folder)


def _locked(folder: Path) -> sqlite3.Connection:
    """A connection that nobody else can have; a damaged file shows here or never, so all of it is looked through."""
    connection = sqlite3.connect(folder / _FILE, timeout=0.0)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        connection.commit()  # the lock stays
        if (found := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(found)
    except BaseException:
        connection.close()
        raise
    return connection
