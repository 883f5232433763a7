from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from llmrec.cli.export import Form
from llmrec.errors import DataFault, PromptFault
from llmrec.pairs.build import build_pairs
from llmrec.pairs.export import FORMS, TALKS, export, read_pairs
from llmrec.prompts.chat import Chat, chat_of
from llmrec.ranking import write_parquet
from tests.pairs.test_build import QUERIES, SHOP, lines_encoder, rejected
from tests.prompts import readers

SYSTEM = "You know films."
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Three pairs of three rejected films each."""
    return write_parquet(build_pairs(QUERIES, SHOP, lines_encoder(), rejected()), tmp_path / "train.parquet")


@pytest.fixture
def told(pairs: Path) -> Path:
    """The same, as a chat template had put them, with a system's words."""
    around = {"system": SYSTEM, "head": f"<system>{SYSTEM}<user>", "tail": "<assistant>"}
    (pairs.parent / "chats.json").write_text(json.dumps({"movies/lines@1": around}), encoding="utf-8")
    table = pl.read_parquet(pairs)
    return write_parquet(
        table.with_columns(prompt=pl.lit(around["head"]) + pl.col("prompt") + pl.lit(around["tail"])), pairs
    )


def talking() -> Any:
    """A tokenizer with a chat template."""
    tokenizer = readers.chat()
    tokenizer.chat_template = CHATML
    return tokenizer


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_trl_has_one_rejected_answer_a_row(pairs: Path, tmp_path: Path):
    assert export(pairs, "trl", tmp_path / "trl.parquet") == 9
    table = pl.read_parquet(tmp_path / "trl.parquet")
    assert table.columns == ["prompt", "chosen", "rejected"]
    assert table.dtypes == [pl.String] * 3
    assert table["chosen"][0] == " Up (2009)"


def test_conversations_have_a_user_and_an_assistant(pairs: Path, tmp_path: Path):
    assert export(pairs, "conversational", tmp_path / "chat.jsonl") == 9
    first = rows(tmp_path / "chat.jsonl")[0]
    assert first["prompt"] == [{"role": "user", "content": " Heat (1995)\n Alien (1979)\n"}]
    assert first["chosen"] == [{"role": "assistant", "content": "Up (2009)"}]
    assert first["rejected"][0]["role"] == "assistant"
    assert not first["rejected"][0]["content"].startswith(" ")


def test_sft_has_the_chosen_answer_once(pairs: Path, tmp_path: Path):
    assert export(pairs, "sft", tmp_path / "deep" / "sft.jsonl") == 3
    assert [sorted(row) for row in rows(tmp_path / "deep" / "sft.jsonl")] == [["completion", "prompt"]] * 3


def test_text_is_prompt_and_answer_in_one(pairs: Path, tmp_path: Path):
    export(pairs, "text", tmp_path / "text.jsonl")
    assert rows(tmp_path / "text.jsonl")[0] == {"text": " Heat (1995)\n Alien (1979)\n Up (2009)"}


def test_listwise_keeps_all_rejected_answers_of_a_prompt(pairs: Path, tmp_path: Path):
    assert export(pairs, "listwise", tmp_path / "list.parquet") == 3
    assert pl.read_parquet(tmp_path / "list.parquet").equals(pl.read_parquet(pairs)["prompt", "chosen", "rejected"])


def test_messages_end_in_the_answer(pairs: Path, tmp_path: Path):
    export(pairs, "messages", tmp_path / "m.jsonl")
    assert rows(tmp_path / "m.jsonl")[0] == {
        "messages": [
            {"role": "user", "content": " Heat (1995)\n Alien (1979)\n"},
            {"role": "assistant", "content": "Up (2009)"},
        ]
    }


def test_axolotl_gets_messages_and_two_answers(told: Path, tmp_path: Path):
    export(told, "axolotl", tmp_path / "a.jsonl")
    first = rows(tmp_path / "a.jsonl")[0]
    assert first["messages"] == [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": " Heat (1995)\n Alien (1979)\n"},
    ]
    assert first["chosen"] == {"role": "assistant", "content": "Up (2009)"}
    assert sorted(first["rejected"]) == ["content", "role"]


def test_axolotl_s_orpo_gets_two_conversations(told: Path, tmp_path: Path):
    assert export(told, "axolotl-orpo", tmp_path / "a.jsonl") == 9
    first = rows(tmp_path / "a.jsonl")[0]
    asked = {"role": "user", "content": " Heat (1995)\n Alien (1979)\n"}
    assert first["system"] == SYSTEM
    assert first["chosen"] == [asked, {"role": "assistant", "content": "Up (2009)"}]
    assert first["rejected"][0] == asked
    assert [message["role"] for message in first["rejected"]] == ["user", "assistant"]


def test_what_stands_in_a_title_is_text_in_every_form(pairs: Path, tmp_path: Path):
    odd = ['{{ 7 * 7 }} "quoted" \\ <script>', "é \u202e \u0000 {% raw %}", "x" * 10_000]
    table = pl.read_parquet(pairs).with_columns(chosen=pl.Series([f" {words}" for words in odd]))
    write_parquet(table, pairs)
    for form in FORMS:
        export(pairs, form, tmp_path / "o.jsonl")
        said = json.dumps(rows(tmp_path / "o.jsonl"), ensure_ascii=False)
        assert all(json.dumps(words, ensure_ascii=False)[1:-1] in said for words in odd), form


def test_the_command_knows_every_form():
    assert [form.value for form in Form] == list(FORMS)


def test_llamafactory_gets_its_file_and_where_to_find_it(told: Path, tmp_path: Path):
    (tmp_path / "dataset_info.json").write_text('{"other": {"file_name": "x.json"}}', encoding="utf-8")
    export(told, "llamafactory", tmp_path / "films.jsonl")
    first = rows(tmp_path / "films.jsonl")[0]
    assert first["conversations"] == [{"from": "human", "value": " Heat (1995)\n Alien (1979)\n"}]
    assert first["chosen"] == {"from": "gpt", "value": "Up (2009)"}
    assert first["system"] == SYSTEM
    info = json.loads((tmp_path / "dataset_info.json").read_text(encoding="utf-8"))
    assert list(info) == ["other", "films"]
    assert info["films"]["ranking"] is True
    assert set(info["films"]["columns"].values()) == {"conversations", "chosen", "rejected", "system"} == set(first)


@pytest.mark.oracle
@pytest.mark.parametrize("form", FORMS)
def test_datasets_loads_every_form_with_the_columns_that_it_says(form: str, told: Path, tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whatever the library's own imports deprecate
        import datasets
    for ending, reader in ((".parquet", "parquet"), (".jsonl", "json")):
        out = tmp_path / f"out{ending}"
        count = export(told, form, out)
        loaded = datasets.load_dataset(reader, data_files=str(out), cache_dir=str(tmp_path / "cache"))["train"]
        assert loaded.num_rows == count
        assert loaded.to_list() == pl.read_parquet(tmp_path / "out.parquet").to_dicts()


@pytest.mark.oracle
@pytest.mark.parametrize("form", ["trl", "conversational", "sft", "messages"])
def test_trl_takes_the_rows_as_what_they_are(form: str, told: Path, tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl.data_utils import apply_chat_template, is_conversational, maybe_extract_prompt
    export(told, form, tmp_path / "out.jsonl")
    for row in rows(tmp_path / "out.jsonl"):
        assert is_conversational(row) == (form in TALKS)
        if form in ("trl", "conversational"):
            assert maybe_extract_prompt(dict(row)) == row
        if form == "conversational":
            # Both ways to the model's text are one: TRL's over our conversations, and ours with its chat template.
            text = apply_chat_template(row, talking())
            chat = chat_of(talking(), SYSTEM)
            assert chat is not None
            assert text["prompt"] == chat.head + row["prompt"][1]["content"] + chat.tail
            assert text["chosen"] == row["chosen"][0]["content"] + chat.end


def test_a_chat_template_is_put_around_text(told: Path, tmp_path: Path):
    export(told, "trl", tmp_path / "t.jsonl", chat=lambda system: chat_of(talking(), system) or pytest.fail("no chat"))
    first = rows(tmp_path / "t.jsonl")[0]
    begin = f"<|im_start|>system\n{SYSTEM}<|end|>\n<|im_start|>user\n Heat (1995)\n Alien (1979)\n<|end|>\n"
    assert first["prompt"] == f"{begin}<|im_start|>assistant\n"
    assert first["chosen"] == "Up (2009)<|end|>\n"
    with pytest.raises(DataFault, match="messages is a conversation, and its trainer applies the chat template"):
        export(told, "messages", tmp_path / "m.jsonl", chat=lambda system: Chat("", "", ""))


def test_pairs_of_several_templates_keep_their_order_inside_a_chat_template(told: Path, tmp_path: Path):
    mixed = pl.read_parquet(told).with_columns(
        template=pl.when(pl.int_range(pl.len()) == 1).then(pl.lit("plain@1")).otherwise("template"),
        chosen=pl.concat_str(pl.lit(" Film "), pl.int_range(pl.len())),
    )
    write_parquet(mixed, told)
    export(told, "sft", tmp_path / "s.jsonl", chat=lambda system: Chat(f"<{system}>", "", ""))
    assert [row["completion"] for row in rows(tmp_path / "s.jsonl")] == ["Film 0", "Film 1", "Film 2"]
    assert [row["prompt"].startswith("<None>") for row in rows(tmp_path / "s.jsonl")] == [False, True, False]


def test_a_template_that_refuses_a_system_hears_it_from_the_user():
    tokenizer = talking()
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + CHATML
    )
    chat = chat_of(tokenizer, SYSTEM)
    assert chat is not None
    assert chat.head == f"<|im_start|>user\n{SYSTEM}\n\n"


def test_chat_templates_that_cannot_be_seen_through_are_refused():
    tokenizer = talking()
    tokenizer.chat_template = "{{ messages[0]['content'][:3] }}"
    with pytest.raises(PromptFault, match="changes what is said, or leaves it out"):
        chat_of(tokenizer, None)
    tokenizer.chat_template = "{{ raise_exception('never') }}"
    with pytest.raises(PromptFault, match=r"cannot be used \(never\)"):
        chat_of(tokenizer, SYSTEM)
    tokenizer.chat_template = None
    assert chat_of(tokenizer, SYSTEM) is None


@pytest.mark.parametrize("form", FORMS)
def test_both_endings_hold_the_same(form: str, pairs: Path, tmp_path: Path):
    export(pairs, form, tmp_path / "out.parquet")
    export(pairs, form, tmp_path / "out.jsonl")
    assert pl.read_ndjson(tmp_path / "out.jsonl").to_dicts() == pl.read_parquet(tmp_path / "out.parquet").to_dicts()


def test_columns_that_are_not_asked_for_stay_on_the_disk(pairs: Path):
    assert read_pairs(pairs, ["kept"]).columns == ["kept"]


def test_what_cannot_be_exported_is_said(pairs: Path, tmp_path: Path):
    with pytest.raises(DataFault, match="no form 'dpo'; known are trl, conversational, sft"):
        export(pairs, "dpo", tmp_path / "out.parquet")
    with pytest.raises(DataFault, match=r"out\.csv: ends in \.csv; give a path that ends in \.parquet or \.jsonl"):
        export(pairs, "trl", tmp_path / "out.csv")
    with pytest.raises(DataFault, match=r"nowhere\.parquet: no such file"):
        export(tmp_path / "nowhere.parquet", "trl", tmp_path / "out.parquet")
    (tmp_path / "words.parquet").write_text("not a table", encoding="utf-8")
    with pytest.raises(DataFault, match=r"words\.parquet: not a Parquet file"):
        export(tmp_path / "words.parquet", "trl", tmp_path / "out.parquet")
    other = write_parquet(QUERIES, tmp_path / "queries.parquet")
    with pytest.raises(DataFault, match=r"queries\.parquet: not a table of pairs: template, prompt, .* missing"):
        export(other, "trl", tmp_path / "out.parquet")
    assert not list(tmp_path.glob("out.*"))
