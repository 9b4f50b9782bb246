"""`cachemw warm`: ask for pages before clients do."""

import gzip
import sys
from pathlib import Path

import click

from cachemw.cli.explain import field_of
from cachemw.cli.reach import awaited, json_option
from cachemw.cli.tell import facts, note, progress
from cachemw.errors import ConfigurationError
from cachemw.warming import HttpAsker, absolute, read_source
from cachemw.warming import warm as warmed

MOST_SITEMAPS = 100
SHOWN = 10  # failures that are told one by one


@click.command()
@click.argument("source")
@click.option("-b", "--base", metavar="URL", help="Where to ask, such as http://127.0.0.1:8000.")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A field.")
@click.option("-c", "--concurrency", default=4, show_default=True, help="How many at once.")
@click.option("-r", "--rate", type=float, help="How many a second, at most.")
@click.option("-n", "--most", type=int, help="Only the first so many.")
@json_option
@awaited
async def warm(
    source: str,
    base: str | None,
    headers: tuple[str, ...],
    concurrency: int,
    rate: float | None,
    most: int | None,
    as_json: bool,
) -> None:
    """Ask for pages, so that they are there when clients come.

    SOURCE is a file (- for stdin) or a URL: a list of URLs, a sitemap, or an access log, of which
    the busiest pages come first.
    """
    if concurrency < 1 or (rate is not None and rate <= 0):
        raise click.UsageError("--concurrency and --rate must be more than 0")
    asker = HttpAsker(dict(map(field_of, headers)), concurrency)
    try:
        urls = absolute(_targets(source, asker), base)[:most]
        with progress("asking", total=len(urls)) as done:
            told = await warmed(urls, asker, concurrency=concurrency, rate=rate, progress=done)
    finally:
        asker.close()
    for url, why in told.failures[:SHOWN]:
        note(f"{url}: {why}")
    if len(told.failures) > SHOWN:
        note(f"and {len(told.failures) - SHOWN} more")
    counts = {word: told.counts[word] for word in ("stored", "hit", "uncached", "failed")}
    facts(counts, {word: f"{count:,}" for word, count in counts.items()}, as_json=as_json)
    if told.failures:
        raise SystemExit(1)


def _targets(source: str, asker: HttpAsker) -> list[str]:
    found = read_source(_text(source, asker))
    targets, waiting = list(found.targets), list(found.sitemaps)
    for url in waiting[:MOST_SITEMAPS]:
        targets += read_source(_text(url, asker)).targets
    return targets


def _text(source: str, asker: HttpAsker) -> str:
    if source == "-":
        return sys.stdin.read()
    if source.startswith(("http://", "https://")):
        data = asker.read(source)
    else:
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{source}: {error.strerror}") from None
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    return data.decode("utf-8", "replace")
