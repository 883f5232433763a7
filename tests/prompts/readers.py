"""Tokenizers small enough to know, one of each kind that language models come with."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TITLES = [
    "Heat (1995)", "Alien (1979)", "Up (2009)", "Big (1988)", "Jaws (1975)", "Se7en (1995)", "Fargo (1996)", "M (1931)",
    "Léon: The Professional (1994)", "Twelve Monkeys (1995)", "Babe (1995)", "Dr. Strangelove (1963)", "Amélie (2001)",
]  # fmt: skip
WORDS = ["A viewer watched these films, in this order:\n- ", "Which of these does the viewer watch next?", " Answer:"]
LETTERS = [f" {letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]


def lines(titles: Sequence[str] = TITLES, vocab_size: int = 400) -> PreTrainedTokenizerFast:
    """As the recipe's own language model has it: byte-level BPE, BOS `<s>`, and a newline that ends a title."""
    return _byte_level(titles, vocab_size, special=["<s>", "<pad>", "\n"], bos_token="<s>", eos_token="\n")


def chat(titles: Sequence[str] = TITLES, vocab_size: int = 500) -> PreTrainedTokenizerFast:
    """As Qwen has it: byte-level BPE, no BOS, an end token of its own, and a letter behind a space is one token."""
    return _byte_level(
        [*titles, *WORDS, *LETTERS * 50], vocab_size, special=["<|end|>", "<pad>"], bos_token=None, eos_token="<|end|>"
    )


def pieces(titles: Sequence[str] = TITLES, vocab_size: int = 300) -> PreTrainedTokenizerFast:
    """As Llama 2 has it: spaces are `▁`, one is put before every text, and BOS comes with each call unless told."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False, max_token_length=8
    )
    tokenizer.train_from_iterator([*titles, *WORDS, *LETTERS * 50], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )


def words(titles: Sequence[str] = TITLES) -> PreTrainedTokenizerFast:
    """As BERT has it: white space and punctuation are cut away, and words are put together from pieces."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]", "[SEP]"], show_progress=False)
    tokenizer.train_from_iterator([*titles, *WORDS], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", eos_token="[SEP]")


def tangled(text: str) -> PreTrainedTokenizerFast:
    """As no model should have it: tokens reach across spaces, so that what a text ends in depends on what follows."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    trainer = trainers.BpeTrainer(special_tokens=["<unk>", "</s>"], show_progress=False)
    tokenizer.train_from_iterator([text] * 9, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


def _byte_level(
    texts: Sequence[str], vocab_size: int, *, special: list[str], bos_token: str | None, eos_token: str
) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([f" {text}" for text in texts], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=bos_token, eos_token=eos_token, pad_token="<pad>"
    )
