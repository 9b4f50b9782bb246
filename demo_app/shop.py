"""The shop's database: SQLite, and slow on purpose, as a real one is on a bad day.

Every answer says when it was read, so that two answers with one time come from one query. Nothing
here knows of caches. `DEMO_DATABASE` names a file that several workers share; without it the data
lives in this process.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeAlias

Row: TypeAlias = dict[str, Any]
OnQuery: TypeAlias = Callable[[str, float], None]

GOODS = [
    (1, "Teapot", "Teekanne", 24.0, 12),
    (2, "Cup", "Tasse", 7.5, 80),
    (3, "Green tea", "Grüner Tee", 9.0, 41),
    (4, "Black tea", "Schwarzer Tee", 8.0, 33),
    (5, "Tea cosy", "Teewärmer", 15.0, 5),
]


class NotFound(LookupError):
    """There is no such product."""


class Shop:
    """Products, prices and reports. `on_query` hears of every query: its words, and seconds."""

    def __init__(self, on_query: OnQuery, path: str | None = None) -> None:
        self._on_query = on_query
        self._database = sqlite3.connect(
            path or os.environ.get("DEMO_DATABASE", ":memory:"), isolation_level=None, timeout=5
        )
        self._database.row_factory = sqlite3.Row
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS product"
            " (id INTEGER PRIMARY KEY, en TEXT, de TEXT, price REAL, stock INTEGER)"
        )
        self._database.executemany("INSERT OR IGNORE INTO product VALUES (?, ?, ?, ?, ?)", GOODS)

    async def product(self, id: int, *, takes: float = 0.6) -> Row:
        rows = await self._query("SELECT * FROM product WHERE id = ?", id, takes=takes)
        if not rows:
            raise NotFound(f"no product {id}")
        return {**_named(rows[0], "en"), "read_at": _clock()}

    async def products(self) -> list[Row]:
        rows = await self._query("SELECT * FROM product ORDER BY id", takes=0.5)
        return [_named(row, "en") for row in rows]

    async def search(self, words: str, language: str) -> list[Row]:
        column = "de" if language.lower().startswith("de") else "en"
        rows = await self._query(
            f"SELECT * FROM product WHERE {column} LIKE ? ORDER BY id", f"%{words}%", takes=0.4
        )
        return [_named(row, column) for row in rows]

    async def report(self, number: int) -> Row:
        """Something that takes long, and that everybody wants at once."""
        rows = await self._query("SELECT sum(price * stock) AS worth FROM product", takes=0.8)
        return {"report": number, "worth": rows[0]["worth"], "read_at": _clock()}

    async def rates(self) -> Row:
        await self._query("SELECT 1", takes=0.7)
        seconds = time.time()
        return {"EUR": 1, "USD": round(1.1 + seconds % 60 / 1000, 4), "read_at": _clock()}

    async def set_price(self, id: int, price: float) -> None:
        await self._query("UPDATE product SET price = ? WHERE id = ?", price, id, takes=0.05)

    async def set_stock(self, id: int, stock: int) -> None:
        await self._query("UPDATE product SET stock = ? WHERE id = ?", stock, id, takes=0.05)

    async def _query(self, sql: str, *values: object, takes: float) -> list[sqlite3.Row]:
        started = time.perf_counter()
        await asyncio.sleep(takes)
        rows = self._database.execute(sql, values).fetchall()
        self._on_query(sql, time.perf_counter() - started)
        return rows


def _named(row: sqlite3.Row, language: str) -> Row:
    return {"id": row["id"], "name": row[language], "price": row["price"], "stock": row["stock"]}


def _clock() -> str:
    return datetime.now().time().isoformat("milliseconds")
