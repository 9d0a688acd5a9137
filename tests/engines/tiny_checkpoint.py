"""Real checkpoints, small enough to be made in a test: byte-level BPE, a chat template, Qwen3 with two layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORDS = (
    "The quick brown fox jumps over the lazy dog. A label is a number, and a reason is a sentence. "
    '{"label": 1, "reason": "thanks"} {"label":-1,"reason":"no"} 谢谢你的帮助，很好。 User Assistant System please answer now. '
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
THINKING = ("<think>", "</think>")
OUTSIDE = "<|outside|>"
"""A token that the tokenizer of a random checkpoint knows and its model does not."""

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKS = TEMPLATE.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TEMPLATE
)


def tokenizer(template: str | None = TEMPLATE) -> Any:
    """A byte-level BPE trained on a few words; the marks of thinking are tokens of their own, as in Qwen3."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    trained.train_from_iterator([WORDS] * 4, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=trained, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    made.add_tokens([AddedToken(mark, special=False) for mark in THINKING])
    made.chat_template = template
    return made


def _model(vocabulary: int, context: int, hidden: int, layers: int) -> Any:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=context,
            tie_word_embeddings=False,
            initializer_range=0.2,
            eos_token_id=2,
            pad_token_id=0,
            bos_token_id=None,
            dtype="float32",
        )
    ).to(torch.float32)


def random_checkpoint(
    folder: Path,
    *,
    template: str | None = TEMPLATE,
    context: int = 512,
    hidden: int = 64,
    layers: int = 2,
    ends: bool = True,
) -> Path:
    """Random weights that babble with conviction; unless it ``ends``, it goes on to the token limit."""
    import torch

    words = tokenizer(template)
    model = _model(len(words), context, hidden, layers)
    with torch.no_grad():
        model.lm_head.weight.mul_(4.0)
        if not ends:
            model.lm_head.weight[: len(SPECIAL)].zero_()
    words.add_tokens([OUTSIDE])
    return _save(folder, words, model)


def scripted_checkpoint(
    folder: Path, says: Sequence[str], *, template: str | None = TEMPLATE, context: int = 512
) -> Path:
    """Says one thing, whatever it is asked: each piece of ``says`` is one token, none twice, none the prompt's last.

    Layers that add nothing leave a chain: the head answers each token with the next of the script.
    """
    import torch

    words = tokenizer(template)
    script = [words.convert_tokens_to_ids(piece) for piece in says]
    assert None not in script and len(set(script)) == len(script)
    last = words.apply_chat_template([{"role": "user", "content": "x"}], add_generation_prompt=True)["input_ids"][-1]
    assert last not in script
    model = _model(len(words), context, 512, 1)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        torch.nn.init.orthogonal_(model.model.embed_tokens.weight)
        model.lm_head.weight.zero_()
        for before, after in zip([last, *script], [*script, words.eos_token_id], strict=True):
            model.lm_head.weight[after] = model.model.embed_tokens.weight[before] * 4
    return _save(folder, words, model)


def _save(folder: Path, words: Any, model: Any) -> Path:
    words.save_pretrained(folder)
    model.generation_config.update(do_sample=False, temperature=None, top_p=None, top_k=None)
    model.save_pretrained(folder)
    return folder
