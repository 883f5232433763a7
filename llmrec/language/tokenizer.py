"""The tokenizer of an embedded language model: byte-level BPE, learned on the catalogue's text."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS = "<pad>", "<s>", "\n"


def build_tokenizer(texts: Sequence[str], vocab_size: int, *, extra: str = "") -> PreTrainedTokenizerFast:
    """A tokenizer whose words are the catalogue's words, at most `vocab_size` of them; `extra` is template text.

    The end token is the line break: a history is one title a line, so a model that has read histories already knows
    what an answer ends with, and a title that is the beginning of another (Alien, Aliens) can be told from it. Words
    split at spaces only: " (1995)" is one token. GPT-2's rule would make it three, and histories a third longer.
    """
    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(r" ?\S+"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, extra], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
