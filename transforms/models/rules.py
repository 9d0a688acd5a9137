"""The `rules` engine: a deterministic judge that needs no model.

A rule file (YAML) lists regular expressions in order; the first that matches a text gives its label, and the
file's ``default`` goes to the rest::

    name: judge
    version: 1
    default: 3                   # labels: all integers (-128..127), or all strings
    skip: (?:(?:oh|well)[,.! ]+)+ # optional: what patterns do not see at the start of the head and of the whole
    terms:                       # fragments, written <praise> in patterns and in later terms
      praise: great|perfect
    rules:
      - id: en-thanks
        label: 5
        cue: thank|great         # optional: also needed, and small, so that most texts are passed over quickly
        pattern: '^(?:thanks|thank you|<praise>)\\b'
        unless: '\\bin advance\\b'
        scope: head              # head (default), tail, whole
        language: en             # en, zh, any (default): informational
        min_chars: 2
        max_chars: 200

A pattern is a Rust regular expression without look-around or back-references; a list holds alternatives. It is matched
against normalised text (see `normalise`): lower case, plain punctuation, single spaces, simplified Chinese. ``\\b`` is
the edge of an ASCII word, so it also parts ``thanks`` from ``谢谢``. ``^`` and ``$`` are the ends of the scope.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from transforms.io import plain_yaml

Scope = Literal["head", "tail", "whole"]
Language = Literal["en", "zh", "any"]
Label = Annotated[int, Field(ge=-128, le=127)] | str

HEAD_CHARS: Final = 200
TAIL_CHARS: Final = 120
MATCHED_CHARS: Final = 80

_PLAIN: Final = '，, 、, 。. ！! ？? ：: ；; （( ）) ～~ ‘\' ’\' ʼ\' ＇\' “" ”" ＂" 「" 」"'
_SIMPLIFIED: Final = """
謝谢 對对 錯错 沒没 這这 說说 請请 們们 麼么 個个 為为 問问 題题 樣样 點点 還还 會会 無无 給给 寫写 過过 來来 讓让 應应 該该 誤误
嗎吗 時时 實实 幫帮 繼继 續续 愛爱 歡欢 讚赞 話话 認认 識识 開开 動动 張张 圖图 檔档 網网 絡络 尋寻 鏈链 結结 語语 譯译 編编 製制
簡简 單单 後后 從从 裡里 裏里 複复 復复 與与 華华 義义 務务 聽听 見见 長长 現现 據据 種种 總总 內内 達达 爛烂 廢废 騙骗 氣气 極极
確确 難难 辦办 夠够 評评 論论 腦脑 蟲虫 變变 將将 當当 間间 門门 關关 聯联 連连 線线 傳传 書书 買买 賣卖 錢钱 國国 學学 習习 體体
驗验 質质 價价 準准 權权 護护 險险 處处 藥药 殺杀 傷伤 獲获 帳帐 號号 碼码 黃黄 視视 頻频 兒儿 強强 組组 織织 違违 詐诈 偽伪 僞伪
畫画 檢检 閱阅 載载 彈弹 槍枪 炸炸 製制 僱雇 嚴严 緊紧 絕绝 軟软 輸输 進进 運运 執执 報报 詳详 細细 擊击 盜盗 竊窃 騷骚 擾扰
廳厅 歲岁 龍龙 萬万 麗丽 優优 傑杰 懶懒 彆别 別别 壞坏 腳脚 臺台 灣湾 機机 構构 條条 標标 項项 顯显 設设 計计 試试 調调 課课 誰谁
"""
_FOLDED: Final = {pair[0]: pair[1] for pair in f"{_PLAIN} {_SIMPLIFIED}".split() if pair[0] != pair[1]} | {"…": "..."}

_TERM: Final = re.compile(r"<([a-z_][a-z0-9_]*)>")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


class RulesError(ValueError):
    """A rule file is not valid; the message names the file and, where there is one, the rule."""


@dataclass(frozen=True)
class Rule:
    """One entry of a rule file; ``pattern`` and ``unless`` are whole expressions, terms filled in."""

    id: str
    label: Label
    pattern: str
    cue: str | None = None
    unless: str | None = None
    scope: Scope = "head"
    language: Language = "any"
    min_chars: int | None = None
    max_chars: int | None = None


@dataclass(frozen=True)
class RuleSet:
    """A rule file: its rules in order, and the SHA-256 of its bytes (hex)."""

    name: str
    version: int
    sha256: str
    default: Label
    rules: tuple[Rule, ...]
    skip: str | None = None


def load(path: Path | Traversable) -> RuleSet:
    """Read a rule file and check all of it, every expression included.

    Raises:
        RulesError: the file is not plain YAML (tags, aliases and repeated keys are refused), a key is missing, unknown
            or of another type than it should be, or an expression is not valid or matches the empty text.
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    try:
        return _parse(data)
    except RulesError as error:
        raise RulesError(f"{path}: {error}") from error.__cause__


def normalise(text: pl.Expr) -> pl.Expr:
    """The text that patterns see: lower case, plain punctuation, single spaces, common characters simplified."""
    return (
        text.str.to_lowercase()
        .str.replace_many(list(_FOLDED), list(_FOLDED.values()))
        .str.replace_all(r"\s{2,}|[^\S ]", " ")
        .str.strip_chars()
    )


def classify(texts: pl.Series, rules: RuleSet) -> pl.DataFrame:
    """Label texts, one row a text, in order.

    Args:
        texts: dtype String. A null, like a blank text, matches no rule.
        rules: what to apply.

    The expressions are compiled anew in a call (about 50 ms for the judge): pass some ten thousand texts at once.

    Returns:
        Columns ``label`` (Int8 or String, never null), ``rule`` (String: the id of the rule that decided, null if none
        did) and ``matched`` (String: what it matched in the normalised text, at most 80 characters).
    """
    dtype = pl.Int8 if isinstance(rules.default, int) else pl.String
    open_ = _views(texts, rules)
    decided = [pl.DataFrame(schema={"row": pl.UInt32, "label": dtype, "rule": pl.String, "matched": pl.String})]
    for rule in rules.rules:
        if open_.is_empty():
            break
        hit = _hits(open_, rule)
        if not hit.is_empty():
            decided.append(
                hit.select(
                    "row",
                    pl.lit(rule.label, dtype=dtype).alias("label"),
                    pl.lit(rule.id).alias("rule"),
                    pl.col(_view(rule)).str.extract(_group(rule)).str.slice(0, MATCHED_CHARS).alias("matched"),
                )
            )
            open_ = open_.join(hit, on="row", how="anti", maintain_order="left")
    rows = pl.select(pl.int_range(texts.len(), dtype=pl.UInt32).alias("row"))
    return rows.join(pl.concat(decided), on="row", how="left", maintain_order="left").select(
        pl.col("label").fill_null(pl.lit(rules.default, dtype=dtype)), "rule", "matched"
    )


def _views(texts: pl.Series, rules: RuleSet) -> pl.DataFrame:
    """The texts that may match: `row`, `chars` and, normalised, what each scope shows of them.

    Where every rule has a cue, one expression over all of them drops the many texts that match nothing.
    """
    text = pl.col("text").str.strip_chars()
    windows: dict[str, tuple[int, int | None]] = {
        "head": (0, HEAD_CHARS),
        "tail": (-TAIL_CHARS, TAIL_CHARS),
        "whole": (0, _whole_chars(rules)),
    }
    cues: dict[str, list[str | None]] = {}
    for rule in rules.rules:
        cues.setdefault(_view(rule), []).append(rule.cue)
    views = pl.LazyFrame({"text": texts}).select(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
        text.str.len_chars().alias("chars"),
        *(_seen(normalise(text.str.slice(*windows[view])), view, rules).alias(view) for view in cues),
    )
    if all(rule.cue for rule in rules.rules):
        views = views.filter(
            pl.any_horizontal(
                pl.col(view).str.contains(_either([cue for cue in found if cue])) for view, found in cues.items()
            )
        )
    return views.collect()


def _view(rule: Rule) -> str:
    """The column of `_views` that a rule reads: all of a short text is in its head."""
    short = rule.max_chars is not None and rule.max_chars <= HEAD_CHARS
    return "head" if rule.scope == "whole" and short else rule.scope


def _seen(view: pl.Expr, scope: str, rules: RuleSet) -> pl.Expr:
    """A view without the opening words that the file says to skip."""
    return view if rules.skip is None or scope == "tail" else view.str.replace(f"^(?:{rules.skip})", "")


def _whole_chars(rules: RuleSet) -> int | None:
    """How much of a text the rules on whole texts can need; null: all of it."""
    limits = [rule.max_chars for rule in rules.rules if _view(rule) == "whole"]
    return None if None in limits else max((limit for limit in limits if limit is not None), default=0)


def _hits(views: pl.DataFrame, rule: Rule) -> pl.DataFrame:
    """The rows of `_views` that a rule matches; step by step, so that few rows see the costly expression."""
    view = pl.col(_view(rule))
    if rule.min_chars is not None:
        views = views.filter(pl.col("chars") >= rule.min_chars)
    if rule.max_chars is not None:
        views = views.filter(pl.col("chars") <= rule.max_chars)
    if rule.cue is not None:
        views = views.filter(view.str.contains(rule.cue))
    if not views.is_empty():
        views = views.filter(view.str.contains(_group(rule)))
    if rule.unless is not None and not views.is_empty():
        views = views.filter(~view.str.contains(rule.unless))
    return views


def _group(rule: Rule) -> str:
    """The pattern as a group. To compile it costs milliseconds: test and extraction share one compiled expression."""
    return f"({rule.pattern})"


def _either(patterns: list[str]) -> str:
    return "|".join(f"(?:{pattern})" for pattern in patterns)


class _Entry(BaseModel):
    """A rule as the file has it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: Annotated[str, Field(min_length=1)]
    label: Label
    pattern: str | list[str]
    cue: str | list[str] | None = None
    unless: str | list[str] | None = None
    scope: Scope = "head"
    language: Language = "any"
    min_chars: Annotated[int, Field(ge=1)] | None = None
    max_chars: Annotated[int, Field(ge=1)] | None = None


class _File(BaseModel):
    """A rule file; its rules are checked one by one, so that an error can name the rule."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    version: int
    default: Label
    skip: str | list[str] | None = None
    terms: dict[str, str | list[str]] = {}
    rules: Annotated[list[dict[str, Any]], Field(min_length=1)]


def _parse(data: bytes) -> RuleSet:
    try:
        file = _File.model_validate(plain_yaml.load(data))
    except yaml.YAMLError as error:
        raise RulesError(f"not plain YAML: {error}") from error
    except ValidationError as error:
        raise RulesError(_first(error)) from error
    terms: dict[str, str] = {}
    for name, term in file.terms.items():
        terms[name] = _expression(term, terms, f"term {name}", may_be_empty=True)
    rules: list[Rule] = []
    for number, raw in enumerate(file.rules, start=1):
        where = f"rule {raw.get('id', number)}"
        try:
            entry = _Entry.model_validate(raw)
        except ValidationError as error:
            raise RulesError(f"{where}: {_first(error)}") from error
        if any(rule.id == entry.id for rule in rules):
            raise RulesError(f"{where}: the id is repeated")
        if type(entry.label) is not type(file.default):
            raise RulesError(f"{where}: label must be of the type of default, {type(file.default).__name__}")
        rules.append(
            Rule(
                pattern=_expression(entry.pattern, terms, f"{where}: pattern"),
                cue=None if entry.cue is None else _expression(entry.cue, terms, f"{where}: cue"),
                unless=None if entry.unless is None else _expression(entry.unless, terms, f"{where}: unless"),
                **entry.model_dump(exclude={"pattern", "cue", "unless"}),
            )
        )
    _matches_empty(_either([rule.cue for rule in rules if rule.cue]), "all cues together")
    skip = None if file.skip is None else _expression(file.skip, terms, "skip", may_be_empty=True)
    return RuleSet(file.name, file.version, hashlib.sha256(data).hexdigest(), file.default, tuple(rules), skip)


def _first(error: ValidationError) -> str:
    """The first thing that pydantic found, in a line."""
    found = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, found['loc']))}: {found['msg']}".removeprefix(": ")


def _expression(source: str | list[str], terms: Mapping[str, str], where: str, may_be_empty: bool = False) -> str:
    """A checked expression from a file's pattern: alternatives joined, terms filled in, ``\\b`` made ASCII."""

    def fill(match: re.Match[str]) -> str:
        if match[1] not in terms:
            raise RulesError(f"{where}: there is no term {match[1]} above it")
        return f"(?:{terms[match[1]]})"

    joined = source if isinstance(source, str) else _either(source)
    expression = _ESCAPE.sub(lambda m: r"(?-u:\b)" if m[1] == "b" else m[0], _TERM.sub(fill, joined))
    if _matches_empty(expression, where) and not may_be_empty:
        raise RulesError(f"{where}: it matches the empty text")
    return expression


def _matches_empty(expression: str, where: str) -> bool:
    """Compile the expression, which is what checks it."""
    try:
        return bool(pl.Series([""]).str.contains(expression)[0])
    except pl.exceptions.ComputeError as error:
        reason = str(error).partition("\n\nThis error occurred")[0]
        raise RulesError(f"{where}: {reason}") from error
