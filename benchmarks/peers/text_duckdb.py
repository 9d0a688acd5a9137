"""Gopher's quality rules in DuckDB's SQL."""

from __future__ import annotations

import duckdb
import text_contest as contest


def keep(paths: list[str]) -> contest.Kept:
    """The ids that pass all eight rules."""

    def count(pattern: str) -> str:
        return f"len(regexp_extract_all(text, '{pattern}'))"

    stop_words = " + ".join(f"regexp_matches(text, '{word}')::int" for word in contest.STOP_WORDS)
    query = f"""
        with counted as (
            select id,
                {count(contest.WORD)} as words,
                length(regexp_replace(text, '{contest.SPACE}', '', 'g')) as letters,
                length(text) - length(replace(text, '{contest.HASH}', '')) as hashes,
                {count(contest.ELLIPSIS)} as ellipses,
                {count(contest.LINE)} as lines,
                {count(contest.BULLET_LINE)} as bullets,
                {count(contest.ELLIPSIS_LINE)} as dangling,
                {count(contest.LETTER_WORD)} as alphabetic,
                {stop_words} as stop_words
            from read_parquet($paths)
        )
        select id from counted
        where words between 50 and 100000
            and letters / greatest(words, 1) between 3 and 10
            and hashes / greatest(words, 1) <= 0.1
            and ellipses / greatest(words, 1) <= 0.1
            and bullets / greatest(lines, 1) <= 0.9
            and dangling / greatest(lines, 1) <= 0.3
            and alphabetic / greatest(words, 1) >= 0.8
            and stop_words >= 2
    """
    with duckdb.connect() as connection:
        return {"gopher": [row[0] for row in connection.execute(query, {"paths": paths}).fetchall()]}


if __name__ == "__main__":
    contest.compete(keep)
