"""Stable hashes: row identity, keyed user hashes, content keys. The same on every machine and version."""

from __future__ import annotations

import polars as pl
from polars_hash import CryptographicHashingNameSpace as Cryptographic
from polars_hash import NonCryptographicHashingNameSpace as NonCryptographic


def record_ids(relative_uri: pl.Expr, source_row: pl.Expr, ordinal: pl.Expr) -> pl.Expr:
    """32 hexadecimal digits of SHA-256 over relative URI, source row and the instance's ordinal in its row.

    A source row as a whole has no ordinal: pass a null literal.
    """
    ordinal = ordinal.cast(pl.String).fill_null("row")
    place = pl.concat_str(relative_uri, source_row.cast(pl.String), ordinal, separator="\0")
    return Cryptographic(place).sha2_256().str.slice(0, 32)


def keyed_hash(text: pl.Expr, key: str) -> pl.Expr:
    """32 hexadecimal digits of HMAC-SHA-256 under a key; null stays null."""
    return Cryptographic(text).hmac_sha256(key=key).str.slice(0, 32)


def key64(text: pl.Expr) -> pl.Expr:
    """XXH3 with 64 bits, as UInt64; null stays null."""
    return NonCryptographic(text).xxh3_64()


def other_key64(text: pl.Expr) -> pl.Expr:
    """XXH64 as UInt64: independent of ``key64``, so that the two together make 128 bits."""
    return NonCryptographic(text).xxhash64()
