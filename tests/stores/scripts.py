"""Small scripts for the tests of stores."""

from collections.abc import Sequence
from dataclasses import replace

from cachemw.scripts import Keyspace, Reply, Script


def _count(db: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    count = int(db.get(keys[0]) or b"0") + 1
    db.set(keys[0], b"%d" % count, 600_000)
    return count


COUNT = Script(
    "count",
    "local count = (redis.call('GET', KEYS[1]) or 0) + 1 "
    "redis.call('SET', KEYS[1], count, 'PX', 600000) return count",
    _count,
)


def _echo(db: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    return list(args)


ECHO = Script("echo", "return ARGV", _echo)
DATED_ECHO = replace(ECHO, dated=True)


def _spin(db: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    raise NotImplementedError


SPIN = Script("spin", "while true do end", _spin)


def _write(db: Keyspace, keys: Sequence[bytes], args: Sequence[bytes]) -> Reply:
    db.set(keys[0], args[0], 600_000)
    return None


WRITE = Script("write", "redis.call('SET', KEYS[1], ARGV[1], 'PX', 600000)", _write)
