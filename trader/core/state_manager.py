"""What a session leaves for the next one: its record, its heartbeat, and the lease that keeps a second one out.

Redis keeps it where several machines can see it; without Redis an SQLite file (or plain memory) does, for one
machine. Orders and positions are not in here: they are in the journal.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from trader.core.book import Book
from trader.core.clock import SECOND_NS, Clock, SystemClock
from trader.core.probe import Health
from trader.utils.errors import UserError

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")
log = logging.getLogger("alphatrade.core.state")

_IF_OWNER = "if redis.call('get', KEYS[1]) == ARGV[1] then return {} else return 0 end"
_RENEW = _IF_OWNER.format("redis.call('pexpire', KEYS[1], ARGV[2])")
_RELEASE = _IF_OWNER.format("redis.call('del', KEYS[1])")


class SessionRecord(msgspec.Struct, kw_only=True):
    """One session as its successor sees it."""

    session_id: str
    account: str
    host: str
    pid: int
    started_ns: int
    heartbeat_ns: int
    ended_ns: int | None = None
    details: dict[str, Any] = {}


class Store(Protocol):
    """Where the records are kept."""

    async def get(self, key: str) -> bytes | None: ...
    async def set(self, key: str, value: bytes) -> None: ...
    async def take_lease(self, key: str, owner: str, ttl_s: float) -> str | None: ...
    async def renew_lease(self, key: str, owner: str, ttl_s: float) -> bool: ...
    async def release_lease(self, key: str, owner: str) -> None: ...
    async def close(self) -> None: ...


class RedisStore:
    """Records in Redis. A lease is a key that expires; only its owner renews or releases it."""

    def __init__(self, client: Redis) -> None:
        self.client = client

    async def get(self, key: str) -> bytes | None:
        value = await self.client.get(key)
        return value if value is None or isinstance(value, bytes) else str(value).encode()

    async def set(self, key: str, value: bytes) -> None:
        await self.client.set(key, value)

    async def take_lease(self, key: str, owner: str, ttl_s: float) -> str | None:
        """None when taken, else its owner."""
        if await self.client.set(key, owner, nx=True, px=int(ttl_s * 1000)):
            return None
        holder = await self.get(key)
        return holder.decode() if holder else await self.take_lease(key, owner, ttl_s)

    async def renew_lease(self, key: str, owner: str, ttl_s: float) -> bool:
        return bool(await self.client.eval(_RENEW, 1, key, owner, str(int(ttl_s * 1000))))

    async def release_lease(self, key: str, owner: str) -> None:
        await self.client.eval(_RELEASE, 1, key, owner)

    async def close(self) -> None:
        await self.client.aclose()


class SqliteStore:
    """Records in a file, or in memory where no file is given. The lock of the home does the lease's work."""

    def __init__(self, path: Path | None) -> None:
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
            self._db.execute("CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value BLOB NOT NULL)")
        except (OSError, sqlite3.Error) as error:
            raise UserError(f"cannot keep the state in {path}: {error}; choose a writable --home") from error

    async def get(self, key: str) -> bytes | None:
        row = self._db.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    async def set(self, key: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, value))

    async def take_lease(self, key: str, owner: str, ttl_s: float) -> str | None:
        return None

    async def renew_lease(self, key: str, owner: str, ttl_s: float) -> bool:
        return True

    async def release_lease(self, key: str, owner: str) -> None:
        return None

    async def close(self) -> None:
        self._db.close()


class RedisStateManager:
    """Session state in Redis, with a fallback that says so.

    Parameters
    ----------
    host, port : str, int, optional
        Redis; by default those of ``REDIS_HOST`` and ``REDIS_PORT``, else localhost:6379.
    fallback_path : Path, optional
        SQLite file for when Redis is not there; without it the fallback is memory, and a restart forgets.
    account : str
        What the lease is for: one writer per account.
    lease_s : float
        Seconds after which a session that no longer beats is taken for dead.
    use_redis : bool
        False goes straight to the fallback.
    book : Book, optional
        The session's accounts, for whoever compares the state with the broker's; by default empty ones.
    """

    def __init__(
        self, host: str | None = None, port: int | None = None, *, fallback_path: Path | None = None,
        account: str = "default", lease_s: float = 90.0, clock: Clock | None = None, use_redis: bool = True,
        prefix: str = "alphatrade", book: Book | None = None,
    ) -> None:
        self.book = book if book is not None else Book()
        self.host = host or os.environ.get("REDIS_HOST") or "localhost"
        self.port = port or int(os.environ.get("REDIS_PORT") or 6379)
        self.account = account
        self.lease_s = lease_s
        self._fallback_path = fallback_path
        self._clock = clock if clock is not None else SystemClock()
        self._use_redis = use_redis
        self._session_key = f"{prefix}:{account}:session"
        self._lease_key = f"{prefix}:{account}:lease"
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._redis: Redis | None = None            # None: the fallback is in use
        self._store: Store | None = None
        self._record: SessionRecord | None = None
        self._retry_ns = 0

    @property
    def in_fallback(self) -> bool:
        """Whether Redis is not used."""
        return self._redis is None

    async def initialize(self) -> None:
        """Connect to Redis, else use the fallback and log it."""
        if not await self._connect():
            self._fall_back("it is switched off" if not self._use_redis else "it does not answer")

    async def recover_state(self) -> dict[str, Any]:
        """``previous_session``: the record of a session that never ended, else None; ``last_session``: the last one."""
        raw = await self._do(lambda store: store.get(self._session_key))
        last = msgspec.json.decode(raw, type=SessionRecord) if raw else None
        return {"previous_session": last if last is not None and last.ended_ns is None else None, "last_session": last}

    async def start_session(self, session_id: str, **details: Any) -> SessionRecord:
        """Take the account's lease and write the session's record.

        Raises
        ------
        UserError
            If a session on this or another machine holds the lease.
        """
        holder = await self._do(self._take_lease)
        if holder is not None:
            raise UserError(
                f"account {self.account} is traded by another session ({holder.rpartition(':')[0]}); stop that one, "
                f"or wait {self.lease_s:g} s if it has died", exit_code=3)
        now = self._clock.now_ns()
        self._record = SessionRecord(
            session_id=session_id, account=self.account, host=socket.gethostname(), pid=os.getpid(),
            started_ns=now, heartbeat_ns=now, details=details)
        await self._save()
        return self._record

    async def heartbeat(self, **details: Any) -> bool:
        """Say that the session lives; returns False when another session has taken the lease meanwhile."""
        if self._record is None:
            raise RuntimeError("heartbeat before start_session")
        await self._reconnect_when_due()
        kept = await self._do(lambda store: store.renew_lease(self._lease_key, self._owner, self.lease_s))
        if not kept:                                # expired while this process was asleep: free, or another's?
            kept = await self._do(self._take_lease) is None
        if kept:
            self._record.heartbeat_ns = self._clock.now_ns()
            self._record.details.update(details)
            await self._save()
        return kept

    async def end_session(self) -> None:
        """Mark the session as ended in order, give the lease back and close the connection; safe to call twice."""
        if self._store is None:
            return
        if self._record is not None:
            self._record.ended_ns = self._clock.now_ns()
            await self._save()
            await self._do(lambda store: store.release_lease(self._lease_key, self._owner))
            self._record = None
        await self._store.close()
        self._store = self._redis = None

    async def health_check(self) -> Health:
        """Healthy in the fallback too: it works, and the detail says what is lost."""
        if self._redis is not None:
            try:
                await self._redis.ping()
            except _redis_errors() as error:
                self._fall_back(str(error))
        if self._store is None:
            return Health(False, "not initialized")
        return Health(True, f"Redis at {self.host}:{self.port}" if self._redis else "Using in-memory fallback")

    # --- Redis comes and goes ----------------------------------------------------------------------------

    async def _connect(self) -> bool:
        self._retry_ns = self._clock.now_ns() + 30 * SECOND_NS
        if not self._use_redis:
            return False
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        client = Redis(                             # no retries inside: the fallback is at hand, a stall is worse
            host=self.host, port=self.port, socket_timeout=2.0, socket_connect_timeout=2.0,
            retry=Retry(NoBackoff(), 0))
        try:
            await client.ping()
        except _redis_errors():
            await client.aclose()
            return False
        self._redis, self._store = client, RedisStore(client)
        return True

    def _fall_back(self, why: str) -> SqliteStore:
        self._redis = None
        self._store = store = SqliteStore(self._fallback_path)
        lost = f"kept in {self._fallback_path}" if self._fallback_path else "a restart forgets the session's state"
        level = logging.WARNING if self._use_redis else logging.INFO
        log.log(level, "Redis at %s:%d: %s. Using in-memory fallback (%s; one machine only)",
                self.host, self.port, why, lost)
        return store

    async def _reconnect_when_due(self) -> None:
        if self._redis is None and self._use_redis and self._clock.now_ns() >= self._retry_ns:
            old = self._store
            if await self._connect():
                log.info("Redis at %s:%d is back", self.host, self.port)
                if old is not None:
                    await old.close()

    def _take_lease(self, store: Store) -> Awaitable[str | None]:
        return store.take_lease(self._lease_key, self._owner, self.lease_s)

    async def _do(self, operation: Callable[[Store], Awaitable[T]]) -> T:
        """Run an operation on the store; Redis that fails is replaced by the fallback, and the operation repeated."""
        if self._store is None:
            raise RuntimeError("initialize() first")
        try:
            return await operation(self._store)
        except _redis_errors() as error:
            return await operation(self._fall_back(str(error)))

    async def _save(self) -> None:
        body = msgspec.json.encode(self._record)
        await self._do(lambda store: store.set(self._session_key, body))


def _redis_errors() -> tuple[type[BaseException], ...]:
    from redis.exceptions import RedisError

    return (RedisError, OSError, TimeoutError)
