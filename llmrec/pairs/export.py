"""Pairs in the forms that trainers read.

text            text: prompt and chosen answer as one text, one row a pair, for plain language modelling
trl             prompt, chosen, rejected: text, one rejected answer a row (TRL's standard preference format; unsloth's)
conversational  the same as lists of {role, content}, for models with a chat template
listwise        prompt, chosen, rejected: list, one row a pair
sft             prompt, completion: the chosen answer only, one row a pair
messages        messages: the user's and the assistant's, one row a pair (SFT of TRL, axolotl, unsloth)
axolotl         messages, chosen, rejected: axolotl's `type: chat_template.default` for `rl: dpo`, ipo, simpo
axolotl-orpo    chosen, rejected: the whole conversation of both, axolotl's `type: chat_template.argilla` for `rl: orpo`
llamafactory    conversations, chosen, rejected as {from, value}: LLaMA-Factory's sharegpt with `ranking: true`

A conversation has the system's words where the template of the pairs has some. Where the layouts are written down:
axolotl's docs/rlhf.qmd and src/axolotl/prompt_strategies, LLaMA-Factory's data/README.md, TRL's "Dataset formats".
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from llmrec.errors import DataFault
from llmrec.files import replacing, write_json
from llmrec.pairs.build import PAIRS_SCHEMA, exploded
from llmrec.prompts.chat import Chat
from llmrec.ranking import write_parquet

CHATS = "chats.json"  # beside pairs whose prompts a chat template is part of: template -> what it put around them
INFO = "dataset_info.json"  # how LLaMA-Factory finds its files


def text(pairs: pl.DataFrame) -> pl.DataFrame:
    """text: one row a pair."""
    return pairs.select(text=pl.col("prompt") + pl.col("chosen"))


def trl(pairs: pl.DataFrame) -> pl.DataFrame:
    """prompt, chosen, rejected: one row a rejected answer."""
    return exploded(pairs).select("prompt", "chosen", "rejected")


def listwise(pairs: pl.DataFrame) -> pl.DataFrame:
    """prompt, chosen, rejected: the rejected answers as a list."""
    return pairs.select("prompt", "chosen", "rejected")


def sft(pairs: pl.DataFrame) -> pl.DataFrame:
    """prompt, completion: one row a pair."""
    return pairs.select("prompt", pl.col("chosen").alias("completion"))


def conversational(pairs: pl.DataFrame) -> pl.DataFrame:
    """As `trl`, each a conversation; answers lose the space that they begin with, as templates put their own."""
    return exploded(pairs).select(
        _asked(pairs).alias("prompt"),
        _said("assistant", _bare("chosen")).alias("chosen"),
        _said("assistant", _bare("rejected")).alias("rejected"),
    )


def messages(pairs: pl.DataFrame) -> pl.DataFrame:
    """messages: one row a pair."""
    return pairs.select(pl.concat_list(_asked(pairs), _said("assistant", _bare("chosen"))).alias("messages"))


def axolotl(pairs: pl.DataFrame) -> pl.DataFrame:
    """messages up to the answer, and the two answers as one message each."""
    return exploded(pairs).select(
        _asked(pairs).alias("messages"),
        _message("assistant", _bare("chosen")).alias("chosen"),
        _message("assistant", _bare("rejected")).alias("rejected"),
    )


def axolotl_orpo(pairs: pl.DataFrame) -> pl.DataFrame:
    """Two conversations of one question and one answer each, and, where there is one, the system's words."""
    asked = _said("user", pl.col("prompt"))
    return exploded(pairs).select(
        *(pl.concat_list(asked, _said("assistant", _bare(name))).alias(name) for name in ("chosen", "rejected")),
        *_system(pairs),
    )


def llamafactory(pairs: pl.DataFrame) -> pl.DataFrame:
    """conversations up to the answer, the two answers, and, where there is one, the system's words."""
    return exploded(pairs).select(
        pl.concat_list(_message("human", pl.col("prompt"), "from", "value")).alias("conversations"),
        _message("gpt", _bare("chosen"), "from", "value").alias("chosen"),
        _message("gpt", _bare("rejected"), "from", "value").alias("rejected"),
        *_system(pairs),
    )


SYSTEM = "system"  # the column that `unwrapped` adds
FORMS: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "trl": trl, "conversational": conversational, "sft": sft, "text": text, "listwise": listwise,
    "messages": messages, "axolotl": axolotl, "axolotl-orpo": axolotl_orpo, "llamafactory": llamafactory,
}  # fmt: skip
TALKS = ("conversational", "messages", "axolotl", "axolotl-orpo", "llamafactory")


def export(pairs_path: Path, form: str, out: Path, *, chat: Callable[[str | None], Chat] | None = None) -> int:
    """Writes the pairs of a Parquet file in one of FORMS, as Parquet or JSON lines by `out`'s ending; returns its rows.

    `chat`, from a model's chat template for a system's words, puts prompts and answers of the text forms into it.
    `llamafactory` also writes its entry into dataset_info.json beside `out`. Raises DataFault on an unknown form or
    ending, and on a file that does not hold pairs. `datasets.load_dataset` reads either:
    `load_dataset("parquet", data_files="pairs-trl.parquet")`.
    """
    if form not in FORMS:
        raise DataFault(f"export: no form {form!r}; known are {', '.join(FORMS)}.")
    if out.suffix not in (".parquet", ".jsonl"):
        raise DataFault(f"{out}: ends in {out.suffix or 'nothing'}; give a path that ends in .parquet or .jsonl.")
    if chat is not None and form in TALKS:
        raise DataFault(f"export: {form} is a conversation, and its trainer applies the chat template; leave ours out.")
    pairs, chats = read_pairs(pairs_path), _chats(pairs_path)
    if form in TALKS or chat is not None:
        pairs = unwrapped(pairs, chats)
    table = FORMS[form](pairs if chat is None else wrapped(pairs, chat))
    if out.suffix == ".parquet":
        write_parquet(table, out)
    else:
        with replacing(out) as partial:
            table.write_ndjson(partial)
    if form == "llamafactory":
        _describe(out, SYSTEM in table.columns)
    return table.height


def unwrapped(pairs: pl.DataFrame, chats: dict[str, dict[str, Any]]) -> pl.DataFrame:
    """The pairs with prompts as the user says them, and the system's words in a column, where a template has some."""
    for signature, around in chats.items():
        its = pl.col("template") == signature
        bare = pl.col("prompt").str.strip_prefix(around["head"]).str.strip_suffix(around["tail"])
        pairs = pairs.with_columns(prompt=pl.when(its).then(bare).otherwise("prompt"))
        if around["system"] is not None:
            before = pl.col(SYSTEM) if SYSTEM in pairs.columns else pl.lit(None, pl.String)
            pairs = pairs.with_columns(pl.when(its).then(pl.lit(around["system"])).otherwise(before).alias(SYSTEM))
    return pairs


def wrapped(pairs: pl.DataFrame, chat: Callable[[str | None], Chat]) -> pl.DataFrame:
    """The pairs as a model's chat template has them: text up to the answer, and answers with what ends them."""
    systems = pairs[SYSTEM].unique().to_list() if SYSTEM in pairs.columns else [None]
    mine = pl.col(SYSTEM) if SYSTEM in pairs.columns else pl.lit(None, pl.String)
    numbered, parts = pairs.with_row_index("place"), []
    for system in systems:
        around = chat(system)
        some = numbered.filter(mine.eq_missing(pl.lit(system, pl.String)))
        parts.append(
            some.with_columns(
                prompt=pl.lit(around.head) + pl.col("prompt") + pl.lit(around.tail),
                chosen=_bare("chosen") + pl.lit(around.end),
                rejected=pl.col("rejected").list.eval(pl.element().str.strip_chars_start() + pl.lit(around.end)),
            )
        )
    return pl.concat(parts).sort("place").drop("place")


def read_pairs(path: Path, columns: list[str] | None = None, rows: int | None = None) -> pl.DataFrame:
    """A table of pairs from Parquet, checked for its columns, or DataFault.

    `columns` leaves the others on the disk, `rows` all but the first so many.
    """
    try:
        found = pl.read_parquet_schema(path)
        missing = [name for name in PAIRS_SCHEMA if name not in found]
        if missing:
            raise DataFault(f"{path}: not a table of pairs: {', '.join(missing)} missing; found {', '.join(found)}.")
        return pl.read_parquet(path, columns=columns, n_rows=rows)
    except FileNotFoundError:
        raise DataFault(f"{path}: no such file. Pairs are written by `llmrec pairs RECIPE`.") from None
    except (OSError, pl.exceptions.PolarsError) as fault:
        raise DataFault(f"{path}: not a Parquet file that can be read ({str(fault).splitlines()[0]}).") from None


def _chats(pairs_path: Path) -> dict[str, dict[str, Any]]:
    path = pairs_path.parent / CHATS
    found: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _describe(out: Path, system: bool) -> None:
    """The file's entry in dataset_info.json, beside those of other files."""
    path = out.parent / INFO
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as fault:
        raise DataFault(f"{path}: not JSON ({fault}); {out.name} is written, its entry is not.") from None
    columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}
    columns |= {"system": "system"} if system else {}
    entry = {"file_name": out.name, "formatting": "sharegpt", "ranking": True, "columns": columns}
    write_json({**known, out.stem: entry}, path)


def _bare(name: str) -> pl.Expr:
    return pl.col(name).str.strip_chars_start()


def _message(role: str, content: pl.Expr, who: str = "role", what: str = "content") -> pl.Expr:
    return pl.struct(pl.lit(role).alias(who), content.alias(what))


def _said(role: str, content: pl.Expr) -> pl.Expr:
    """A conversation of one message: list[struct{role, content}]."""
    return pl.concat_list(_message(role, content))


def _system(pairs: pl.DataFrame) -> list[pl.Expr]:
    """The system's words in a column of their own, for trainers that take them there."""
    return [pl.col(SYSTEM)] if SYSTEM in pairs.columns else []


def _asked(pairs: pl.DataFrame) -> pl.Expr:
    """What is said up to the answer."""
    user = _said("user", pl.col("prompt"))
    if SYSTEM not in pairs.columns:
        return user
    both = pl.concat_list(_message("system", pl.col(SYSTEM)), _message("user", pl.col("prompt")))
    return pl.when(pl.col(SYSTEM).is_null()).then(user).otherwise(both)
