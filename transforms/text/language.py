"""Which language a text is in, from its script and its commonest words. No model.

The evidence, in this order:

1. Script. Kana make Japanese, hangul Korean, other Han characters Chinese, Cyrillic Russian (or Ukrainian, by its own letters),
   and so on. One Han character is enough.
2. Words. In Latin script the small words that every sentence needs (`the`, `que`, `nicht`), and letters that few languages
   have, speak for 18 languages. A language needs ``_MIN_SCORE`` points, a lead over the next, and a share of the words.
3. Both. A message that mixes Latin and another script belongs to the other script when it has at least as many of its
   characters (Chinese, Japanese, Korean, Thai) or as many of its words (Cyrillic, Arabic, ...) as there are Latin words. So a
   Chinese question full of English terms is Chinese, and an English one that quotes a Chinese word is English. Latin words that
   prove no language (names, code) do not count.

Little evidence gives null, not a guess: "ok", a number or a piece of code inherits the language of its conversation. Fenced code,
lines of code and addresses are no evidence. Only the first ``MAX_CHARACTERS`` characters are looked at.
"""

from collections.abc import Mapping
from typing import Final

import polars as pl

MAX_CHARACTERS: Final = 1_000
"""Characters of a text that are looked at."""

VERSION: Final = 1
"""Raised whenever ``detect`` gives other answers."""

_MIN_SCORE: Final = 2  # points: a word of one language has 2, a shared one 1
_MIN_LEAD: Final = 1  # points between the best and the second language
_MIN_SHARE: Final = 0.08  # of the Latin words, found in the best language's list

# The commonest function words (and the courtesies of chat messages) of each language, by hand from general knowledge.
_WORDS: Final[Mapping[str, str]] = {
    "en": """the of and to a in is you that it for on are with as be at this have from or by not but what all were when we there
        can an your which their if do will how about out then them these so some her would make like him into has more could
        no than been its who now my did get may i me he she they was had his our just don doesn didn isn aren wasn won couldn
        shouldn wouldn please thanks thank hello yes write give tell should does explain why where only also other any because
        using use need want know each between after before help example sorry good great here let very rewrite first used
        different think create list find code add sure certainly following keep going many most new one two three next same
        such work works working does something nothing really still again back over being through while during both few own
        around wrong correct exactly understand dont doesnt cant didnt without under within every another must might should since until yet always never often maybe instead around
        ten men man die war big van plus come due gives given makes made see look show question answer means mean try""",
    "es": """de la que el en y a los del se las por un para con no una su al lo como más pero sus le ya o este sí porque esta
        entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante todos uno les ni contra otros ese eso
        ante ellos e esto mí antes algunos qué unos yo otro otras él tanto esa estos mucho nada cuál ella es son gracias hola
        puedes favor cómo dame hacer ser tiene está fue dime escribe quiero necesito soy""",
    "fr": """de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont la avec ou son lui
        nous comme mais on sans tout ses si leur fait être même aux cette d l c j n qu s je tu vous elle ils ont était ces mes
        mon ma te ton ta votre notre bonjour merci peux donne moi quel quelle comment pourquoi avoir faire très bien aussi
        entre ça été peut""",
    "de": """der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat dass
        sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis mehr durch man
        sein wurde sei ich du wir ihr mir mich dich kann kannst bitte danke hallo was warum wenn keine kein diese dieser dieses
        schreibe gib mein meine dein deine ja""",
    "pt": """de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à seu sua ou
        ser quando muito há nos já está eu também só pelo pela até isso ela entre era depois sem mesmo aos ter seus quem nas me
        esse eles estão você tinha foram essa num nem suas meu às minha numa pelos elas qual obrigado obrigada olá pode faça
        escreva são fazer quero""",
    "it": """di e il la che in a per un è del non sono da si con le i della come una al più ma dei nel ha alla anche lo gli o se
        delle ai su dal ci mi questo quando era dalla essere stato ne io tu lui lei noi loro cosa chi dove perché questa molto
        degli nella quale hai ho hanno grazie ciao puoi fare scrivi dammi tra fra sul sulla sui nei così""",
    "nl": """de het een en van ik te dat die in is niet zijn op aan met als voor had er maar om hem dan zou of wat mijn men dit
        zo door over ze zich bij ook tot je mij uit der daar haar naar heb hoe heeft hebben deze u want nog zal me zij nu geen
        omdat iets worden toch al waren veel meer doen moet zonder kan hun dus alles onder ja werd wezen zelf tegen wordt kunt
        graag bedankt hallo schrijf wij jij""",
    "pl": """w i na z do się nie to że o jak jest za po co od przez dla ale są ten ma czy tak tego być już tylko jego przy który
        oraz może ich jako lub był ze więc które która mi ja ty on ona my wy oni jestem proszę dzięki dziękuję cześć napisz
        gdy bardzo można mnie tym tej kiedy gdzie dlaczego""",
    "tr": """ve bir bu da de için ile çok daha gibi olarak ne kadar var mı mi ama en o ben sen biz siz onlar değil olan sonra
        ya ki her şey nasıl neden olduğu olur yok evet hayır lütfen teşekkürler teşekkür merhaba bana sana bunu benim senin
        yaz göre veya ise hangi kim zaman""",
    "vi": """và của là có trong không cho một các được người với những để này khi đã đến từ tôi bạn ra cũng như về nhưng làm
        thì sẽ nào gì hãy nó vào anh em chúng ta nếu trên phải thế rất nhiều sau lại đó cảm ơn viết giúp mình hay bằng theo""",
    "id": """yang dan di untuk dengan ini dari dalam pada tidak itu adalah akan saya ke juga bisa ada oleh atau kami kita anda
        mereka dia kamu apa bagaimana mengapa karena sudah telah dapat seperti lebih hanya lain secara agar tolong terima
        kasih buatkan jelaskan tentang para sebagai jika saat bahwa tersebut""",
    "ro": """și în de la a cu pe un o care nu să este din mai că pentru se sunt ce au al prin fost sau dar fi ca lui lor eu tu
        el ea noi voi ei cum unde când dacă foarte acest această după fără într între mulțumesc bună te rog poți scrie toate
        despre am ai""",
    "sv": """och att det i en på är som för av med den till inte har de om ett han men var jag sig från vi så kan när nu du
        skulle vara eller hon ska mig dig hur vad varför tack hej mycket också efter vid bara hade blir finns alla min din
        denna detta skriv under""",
    "da": """og at det i en på er som for af med den til ikke har de om et han men var jeg sig fra vi så kan når nu du ville
        være eller hun skal mig dig hvordan hvad hvorfor tak hej meget også efter ved kun havde bliver alle min din denne dette
        skriv hvis blev noget nogle blive mellem gøre give tilbage nye egen uden mod ud op ind ønsker nej måske""",
    "no": """og at det i en på er som for av med den til ikke har de om et han men var jeg seg fra vi så kan når nå du ville
        være eller hun skal meg deg hvordan hva hvorfor takk hei mye også etter ved bare hadde blir alle min din denne dette
        skriv hvis ble noe noen bli mellom gjør gjøre gi tilbake nye egen uten mot ut opp inn ønsker av nei takk kanskje""",
    "fi": """ja on ei se että oli hän en mutta ovat kun niin myös kuin joka sen tai jos ole minä sinä me te he tämä mitä miten
        miksi kiitos hei voi olla mukaan jo vain hänen ollut sitä nyt sekä hyvin kanssa minun sinun""",
    "cs": """a se v na je že o s z do i to k ve pro za by ale si po jako podle od jsem tak jeho když jen jsou který která které
        co jak bylo byl byla nebo již už při aby proč kde děkuji prosím ahoj můžeš není jsi také mezi tento toto""",
    "hu": """a az és hogy nem is egy ez volt csak meg de ha már még van azt mint el kell lehet én te ő mi ti ők mert vagy nagyon
        minden ezt aki ami hogyan miért köszönöm szia kérem kérlek írj most után lesz között""",
}

# Letters that speak for a language by themselves: 1 point each.
_LETTERS: Final[Mapping[str, str]] = {
    "es": "[ñ¿¡]",
    "fr": "[œèêçù]",
    "de": "[ßäü]",
    "pt": "[ãõ]",
    "pl": "[łąęśżźćń]",
    "tr": "[ğış]",
    "vi": "[ạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹđơư]",
    "ro": "[șțăşţ]",
    "sv": "[åäö]",
    "da": "[æøå]",
    "no": "[æøå]",
    "fi": "[äö]",
    "cs": "[ěřůčšž]",
    "hu": "[őű]",
}

# Scripts other than Latin: what is counted. Characters where words are not parted by spaces, else words.
_SCRIPTS: Final[Mapping[str, str]] = {
    "han": r"\p{Han}",
    "kana": r"[\p{Hiragana}\p{Katakana}]",
    "ko": r"\p{Hangul}",
    "th": r"\p{Thai}",
    "km": r"\p{Khmer}",
    "lo": r"\p{Lao}",
    "my": r"\p{Myanmar}",
    "cyrillic": r"\p{Cyrillic}{2,}",
    "arabic": r"\p{Arabic}{2,}",
    "he": r"\p{Hebrew}{2,}",
    "el": r"\p{Greek}{3,}",
    "hi": r"\p{Devanagari}{2,}",
    "bn": r"\p{Bengali}{2,}",
    "ta": r"\p{Tamil}{2,}",
    "te": r"\p{Telugu}{2,}",
    "gu": r"\p{Gujarati}{2,}",
    "kn": r"\p{Kannada}{2,}",
    "ml": r"\p{Malayalam}{2,}",
    "pa": r"\p{Gurmukhi}{2,}",
    "si": r"\p{Sinhala}{2,}",
    "ka": r"\p{Georgian}{2,}",
    "hy": r"\p{Armenian}{2,}",
    "am": r"\p{Ethiopic}{2,}",
}
_NOT_LATIN: Final = r"[\x{370}-\x{1DFF}\x{2E80}-\x{D7FF}\x{F900}-\x{FDFF}\x{FE70}-\x{2FFFF}]"
_NOT_ASCII: Final = r"[\x{A1}-\x{24F}\x{1E00}-\x{1EFF}]"
_JAPANESE_KANA: Final = 10  # Han characters to one kana that Japanese may have; Chinese quotes kana more rarely

# What is no evidence, in lower case: fenced and quoted code, addresses, dotted names, lines of code, words with code's marks in them.
_NO_EVIDENCE: Final = (
    r"(?s:```.*?(?:```|\z))"
    r"|`[^`\n]*`"
    r"|(?:https?://|www\.)[^\s\p{Han}]+"
    r"|[a-z0-9\-]+(?:\.[a-z0-9\-]+)+"
    r"|(?m:^[ \t]*(?:import|from|def|class|return|const|let|var|public|private|function|elif|else|if|for|while|try|except|with"
    r"|package|using|select|insert|create|alter|#include)\b[^\n]*[(){}\[\]=;:][ \t]*$)"
    r"|(?m:^[^\n]*[;{}][ \t]*$)"
    r"|[a-z0-9.]*[_=<>{}\[\]\\|$@/()#]+[a-z0-9_=<>{}\[\]\\|$@/()#.]+"
)


def detect(texts: pl.Series) -> pl.Series:
    """The language of each text.

    Args:
        texts: String, n texts; null allowed.

    Returns:
        String, n, named like ``texts``: ISO 639-1 codes, or null where the text is null or the evidence too little.
    """
    frame = pl.DataFrame({"text": texts.rename("text").cast(pl.String)}).with_row_index("row")
    frame = frame.with_columns(pl.col("text").str.slice(0, MAX_CHARACTERS).str.to_lowercase())
    frame = frame.with_columns(pl.col("text").str.replace_all(_NO_EVIDENCE, " "))
    answers = frame.select("row").join(_script_languages(frame), on="row", how="left", maintain_order="left")
    answers = answers.join(_latin_languages(frame), on="row", how="left", maintain_order="left")
    by_script = pl.col("latin").is_null() | (pl.col("units") >= pl.col("words"))
    decided = pl.when(pl.col("script").is_not_null() & by_script).then("script").otherwise("latin")
    return answers.select(decided.alias(texts.name)).to_series()


def _script_languages(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows with another script than Latin: row, script (its language), units (its characters or words)."""
    other = frame.filter(pl.col("text").str.contains(_NOT_LATIN))
    counts = other.with_columns(
        pl.col("text").str.count_matches(pattern).alias(name) for name, pattern in _SCRIPTS.items()
    )
    japanese = (pl.col("kana") > 0) & (pl.col("kana") * _JAPANESE_KANA >= pl.col("han"))
    characters = pl.col("han") + pl.col("kana")
    counts = counts.with_columns(ja=pl.when(japanese).then(characters), zh=pl.when(~japanese).then(characters))
    long = counts.drop("han", "kana").unpivot(index=["row", "text"], variable_name="script", value_name="units")
    ranked = long.filter(pl.col("units") > 0).sort(["row", "units", "script"], descending=[False, True, False])
    best = ranked.unique("row", keep="first", maintain_order=True)
    return best.select("row", _by_letters(pl.col("script"), pl.col("text")).alias("script"), "units")


def _by_letters(script: pl.Expr, text: pl.Expr) -> pl.Expr:
    """The language of a script that several share, by letters of its own."""
    return (
        pl.when((script == "cyrillic") & text.str.contains("[іїєґ]"))
        .then(pl.lit("uk"))
        .when((script == "cyrillic") & text.str.contains("[јљњћђџ]"))
        .then(pl.lit("sr"))
        .when(script == "cyrillic")
        .then(pl.lit("ru"))
        .when((script == "arabic") & text.str.contains("[ٹڈڑےں]"))
        .then(pl.lit("ur"))
        .when((script == "arabic") & text.str.contains("[پچژگ]"))
        .then(pl.lit("fa"))
        .when(script == "arabic")
        .then(pl.lit("ar"))
        .otherwise(script)
    )


def _word_table() -> pl.DataFrame:
    """word, latin (its language), points: 2 for a word of one language, 1 for a shared one."""
    pairs = {(word, language) for language, words in _WORDS.items() for word in words.split() if len(word) > 1}
    table = pl.DataFrame(sorted(pairs), schema={"word": pl.String, "latin": pl.String}, orient="row")
    owners = pl.len().over("word")
    return table.with_columns(pl.when(owners == 1).then(2).otherwise(1).cast(pl.Int64).alias("points"))


_WORD_TABLE: Final = _word_table()


def _latin_languages(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows whose Latin words prove a language: row, latin (the language), words (how many Latin words there are)."""
    words = frame.select("row", pl.col("text").str.extract_all(r"\p{Latin}{2,}").alias("word"))
    sizes = words.select("row", pl.col("word").list.len().alias("words"))
    hits = words.explode("word").drop_nulls("word").join(_WORD_TABLE, on="word")
    scores = hits.group_by("row", "latin").agg(pl.col("points").sum(), pl.len().alias("hits"))
    letters = _letter_points(frame)
    scores = pl.concat([scores, letters]).group_by("row", "latin").agg(pl.col("points").sum(), pl.col("hits").sum())
    ranked = scores.sort(["row", "points", "latin"], descending=[False, True, False])
    best = ranked.group_by("row", maintain_order=True).agg(
        pl.col("latin").first(),
        pl.col("points").first(),
        pl.col("points").get(1, null_on_oob=True).fill_null(0).alias("second"),
        pl.col("hits").first(),
    )
    sure = (
        (pl.col("points") >= _MIN_SCORE)
        & (pl.col("points") - pl.col("second") >= _MIN_LEAD)
        & (pl.col("hits") >= _MIN_SHARE * pl.col("words"))
    )
    return best.join(sizes, on="row").filter(sure).select("row", "latin", "words")


def _letter_points(frame: pl.DataFrame) -> pl.DataFrame:
    """Points for letters: row, latin, points, hits (0: letters are no words)."""
    other = frame.filter(pl.col("text").str.contains(_NOT_ASCII))
    counts = other.select("row", *(pl.col("text").str.count_matches(p).alias(n) for n, p in _LETTERS.items()))
    long = counts.unpivot(index="row", variable_name="latin", value_name="points").filter(pl.col("points") > 0)
    return long.with_columns(pl.col("points").cast(pl.Int64), pl.lit(0, pl.UInt32).alias("hits"))


# Names as the Lingua detector, and so WildChat, gives them; a few more that data sets use.
_NAMES: Final[Mapping[str, str]] = {
    "afrikaans": "af", "albanian": "sq", "amharic": "am", "arabic": "ar", "armenian": "hy", "azerbaijani": "az",
    "basque": "eu", "belarusian": "be", "bengali": "bn", "bokmal": "no", "norwegian bokmal": "no", "bosnian": "bs",
    "bulgarian": "bg", "burmese": "my", "cantonese": "zh", "catalan": "ca", "chinese": "zh", "croatian": "hr", "czech": "cs",
    "danish": "da", "dutch": "nl", "english": "en", "esperanto": "eo", "estonian": "et", "farsi": "fa", "filipino": "tl",
    "finnish": "fi", "french": "fr", "galician": "gl", "ganda": "lg", "georgian": "ka", "german": "de", "greek": "el",
    "gujarati": "gu", "hebrew": "he", "hindi": "hi", "hungarian": "hu", "icelandic": "is", "indonesian": "id",
    "irish": "ga", "italian": "it", "japanese": "ja", "javanese": "jv", "kannada": "kn", "kazakh": "kk", "khmer": "km",
    "korean": "ko", "lao": "lo", "latin": "la", "latvian": "lv", "lithuanian": "lt", "macedonian": "mk", "malay": "ms",
    "malayalam": "ml", "mandarin": "zh", "maori": "mi", "marathi": "mr", "mongolian": "mn", "nepali": "ne", "norwegian": "no",
    "nynorsk": "no", "norwegian nynorsk": "no", "persian": "fa", "polish": "pl", "portuguese": "pt", "punjabi": "pa",
    "romanian": "ro", "russian": "ru", "serbian": "sr", "shona": "sn", "sinhala": "si", "slovak": "sk", "slovene": "sl",
    "slovenian": "sl", "somali": "so", "sotho": "st", "spanish": "es", "swahili": "sw", "swedish": "sv", "tagalog": "tl",
    "tamil": "ta", "telugu": "te", "thai": "th", "tsonga": "ts", "tswana": "tn", "turkish": "tr", "ukrainian": "uk",
    "urdu": "ur", "uzbek": "uz", "vietnamese": "vi", "welsh": "cy", "xhosa": "xh", "yiddish": "yi", "yoruba": "yo", "zulu": "zu",
}  # fmt: skip

_CODES: Final = """aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo es et eu
    fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn
    ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os
    pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw
    ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"""

_ISO_639_1: Final = frozenset(_CODES.split())

# Retired codes, and three-letter ones in use for languages that have two letters.
_ALIASES: Final[Mapping[str, str]] = {
    "iw": "he", "in": "id", "ji": "yi", "nb": "no", "nn": "no", "fil": "tl", "cmn": "zh", "yue": "zh", "zho": "zh", "chi": "zh",
    "eng": "en", "spa": "es", "fra": "fr", "fre": "fr", "deu": "de", "ger": "de", "jpn": "ja", "kor": "ko", "rus": "ru",
    "por": "pt", "ita": "it", "nld": "nl", "dut": "nl", "ara": "ar", "pol": "pl", "tur": "tr", "vie": "vi", "ukr": "uk",
}  # fmt: skip


def code(name: str | None) -> str | None:
    """The ISO 639-1 code of a language name or tag: "English", "en-US", "zh-Hant", "Chinese (Simplified)"; else None."""
    if name is None:
        return None
    plain = name.strip().lower().replace("å", "a")
    if plain in _NAMES:
        return _NAMES[plain]
    first = plain.replace("_", "-").replace("(", "-").split("-")[0].strip()
    if first in _NAMES and plain.rstrip().endswith(")"):
        return _NAMES[first]
    first = _ALIASES.get(first, first)
    return first if first in _ISO_639_1 else None


def codes(names: pl.Series) -> pl.Series:
    """``code`` for a column: String, n, to String, n; null where the name is null or unknown. Each name is looked up once."""
    known = names.drop_nulls().unique()
    table = {name: found for name in known.to_list() if (found := code(name)) is not None}
    return names.cast(pl.String).replace_strict(table, default=None, return_dtype=pl.String)
