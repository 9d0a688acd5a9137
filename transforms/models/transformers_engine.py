"""The ``transformers`` engine: any local checkpoint, CPU or GPU, in batches of requests of like length."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from transforms.models import checkpoints
from transforms.models.chat_templates import ChatTokenizer, one_line
from transforms.models.engines import EngineUnavailableError
from transforms.models.in_process import CLOSED, InProcessEngine, Job, Written
from transforms.models.settings import TransformersSettings


def identity(settings: TransformersSettings) -> dict[str, Any]:
    """What decides the answers; see `engines.identity`. ``structured`` is what holds answers to a schema. Nothing is loaded.

    Raises:
        EngineUnavailableError: transformers or torch is not installed.
        CheckpointError: there is no such checkpoint.
    """
    return {
        "engine": "transformers",
        "version": _version(),
        "model": checkpoints.fingerprint(settings.model, settings.revision),
        "dtype": settings.dtype,
        "structured": f"xgrammar {version('xgrammar')}" if find_spec("xgrammar") else None,
    }


def _version() -> str:
    try:
        version("torch")
        return version("transformers")
    except PackageNotFoundError as error:
        raise EngineUnavailableError(
            f"engine transformers needs the package {error.name}: pip install 'sluice-curation[transformers]'"
        ) from error


class TransformersEngine(InProcessEngine):
    """The ``Engine`` protocol over ``generate``, the checkpoint loaded before this returns.

    A batch takes up to ``in_flight`` of the waiting requests, in the order of their prompts' length, with the temperature,
    top_p and max_tokens of the one that has waited longest. What comes while a batch is written goes into the next. A
    batch that fails is written again one by one: what fails alone fails alone.

    Draws depend on the request's seed and attempt only, not on the batch around it (rounding aside). What a request does
    not say (top_k, repetition_penalty) is as the checkpoint's generation_config has it. Where xgrammar is installed it
    holds answers to their schema, except those of a chat template that opens the thinking; elsewhere validation decides.

    Raises:
        EngineUnavailableError: transformers or torch is not installed.
        CheckpointError: the checkpoint cannot be loaded.
    """

    def __init__(self, settings: TransformersSettings) -> None:
        _version()
        chat = ChatTokenizer(settings.model, settings.revision)
        super().__init__(chat, lambda closing: _GeneratingModel(settings, chat, closing), settings.in_flight)


class _GeneratingModel:
    """One model of transformers, and the jobs that wait for it."""

    linger = 0.01  # nothing to a batch, and the first is not of the first request alone

    def __init__(self, settings: TransformersSettings, chat: ChatTokenizer, closing: threading.Event) -> None:
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        device = settings.device
        if device == "auto":
            device = (
                str(torch.accelerator.current_accelerator() or "cpu") if torch.accelerator.is_available() else "cpu"
            )
        try:
            model = AutoModelForCausalLM.from_pretrained(
                settings.model, revision=settings.revision, dtype=settings.dtype
            )
            self._model: Any = model.to(device).eval()
        except Exception as error:
            raise checkpoints.CheckpointError(
                f"model {settings.model!r}: transformers cannot load it on {device}: {one_line(error)}"
            ) from error
        self._closing, self._in_flight = closing, settings.in_flight
        self._jobs: list[Job] = []
        self._alone: set[int] = set()
        self.context: int = getattr(
            self._model.config.get_text_config(), "max_position_embeddings", chat.tokenizer.model_max_length
        )
        self.vocabulary: int = self._model.get_input_embeddings().num_embeddings
        defaults = self._model.generation_config
        ends = defaults.eos_token_id if defaults.eos_token_id is not None else chat.tokenizer.eos_token_id
        self._ends: list[int] = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
        self._pad: int = next((one for one in (chat.tokenizer.pad_token_id, *self._ends) if one is not None), 0)
        self._compile = _compiler(chat.tokenizer, self._model.config.get_text_config().vocab_size, self._ends)

    def add(self, job: Job) -> None:
        if self._held(job) and self._compile is not None:
            self._compile(str(job.request.schema))
        self._jobs.append(job)

    def step(self) -> list[Written]:
        batch = self._next_batch()
        try:
            return self._generate(batch)
        except Exception as error:
            if len(batch) == 1:
                return [Written(batch[0].number, error=f"generate failed: {one_line(error)}")]
            self._jobs = batch + self._jobs
            self._alone.update(job.number for job in batch)
            return []

    def close(self) -> None:
        import gc

        del self._model
        gc.collect()

    def _held(self, job: Job) -> bool:
        return job.request.schema is not None and self._compile is not None and not job.prompt.thinking

    def _kind(self, job: Job) -> tuple[float, float, int, bool]:
        """What the jobs of a batch have in common; the third is how many tokens may be written."""
        room = min(job.sampling.max_tokens, self.context - len(job.prompt.ids))
        return job.sampling.temperature, job.sampling.top_p, room, self._held(job)

    def _next_batch(self) -> list[Job]:
        """The oldest job, and those most like it."""
        oldest = self._jobs[0]
        if oldest.number in self._alone:
            self._alone.discard(oldest.number)
            batch = [oldest]
        else:
            alike = [job for job in self._jobs if self._kind(job) == self._kind(oldest)]
            alike.sort(key=lambda job: len(job.prompt.ids))
            start = max(0, min(alike.index(oldest) - self._in_flight // 2, len(alike) - self._in_flight))
            batch = alike[start : start + self._in_flight]
        taken = {job.number for job in batch}
        self._jobs = [job for job in self._jobs if job.number not in taken]
        return batch

    def _generate(self, batch: list[Job]) -> list[Written]:
        import torch
        from transformers import LogitsProcessorList

        _, _, room, held = self._kind(batch[0])
        width = max(len(job.prompt.ids) for job in batch)
        ids = torch.full((len(batch), width), self._pad)
        mask = torch.zeros_like(ids)
        for row, job in enumerate(batch):
            ids[row, width - len(job.prompt.ids) :] = torch.tensor(job.prompt.ids)
            mask[row, width - len(job.prompt.ids) :] = 1
        generation = copy.deepcopy(self._model.generation_config)
        generation.update(
            do_sample=False,  # `_Drawing` draws
            num_beams=1,
            max_length=None,
            max_new_tokens=room,
            eos_token_id=self._ends or None,
            pad_token_id=self._pad,
        )
        with torch.inference_mode():
            rows = self._model.generate(
                input_ids=ids.to(self._model.device),
                attention_mask=mask.to(self._model.device),
                generation_config=generation,
                logits_processor=LogitsProcessorList(self._processors(batch, held)),
                stopping_criteria=[self._closed],
            )[:, width:].tolist()
        if self._closing.is_set():
            return [Written(job.number, error=CLOSED) for job in batch]
        return [self._written(job, row, held) for job, row in zip(batch, rows, strict=True)]

    def _processors(self, batch: list[Job], held: bool) -> list[Any]:
        """What stands between the model's scores and the next tokens of a batch."""
        from transformers.generation import (
            MinPLogitsWarper,
            TemperatureLogitsWarper,
            TopKLogitsWarper,
            TopPLogitsWarper,
        )

        processors: list[Any] = []
        if held and self._compile is not None:
            masking = import_module("xgrammar.contrib.hf")
            processors.append(masking.LogitsProcessor([self._compile(str(job.request.schema)) for job in batch]))
        sampling, defaults = batch[0].sampling, self._model.generation_config
        if sampling.temperature > 0:
            processors.append(TemperatureLogitsWarper(float(sampling.temperature)))
            if defaults.top_k:
                processors.append(TopKLogitsWarper(defaults.top_k))
            if sampling.top_p < 1:
                processors.append(TopPLogitsWarper(float(sampling.top_p)))
            if defaults.min_p:
                processors.append(MinPLogitsWarper(defaults.min_p))
            processors.append(_Drawing([job.seed for job in batch], self._model.device))
        return processors

    def _closed(self, ids: Any, scores: Any, **_: Any) -> Any:
        """Ends a batch early when the engine closes."""
        import torch

        return torch.full((ids.shape[0],), self._closing.is_set(), device=ids.device)

    def _written(self, job: Job, row: list[int], held: bool) -> Written:
        end = next((at for at, one in enumerate(row) if one in self._ends), None)
        if end is None:
            return Written(job.number, row, "length", held)
        return Written(job.number, row[: end + 1], "stop", held)


class _Drawing:
    """Adds noise to the scores so that the highest is a draw from their softmax (Gumbel), each row from its own seed."""

    def __init__(self, seeds: Sequence[int | None], device: Any) -> None:
        import torch

        self._generators = [torch.Generator(device=device) for _ in seeds]
        for generator, seed in zip(self._generators, seeds, strict=True):
            if seed is None:
                generator.seed()
            else:
                generator.manual_seed(seed)

    def __call__(self, ids: Any, scores: Any) -> Any:
        import torch

        scores = scores.float()
        for row, generator in enumerate(self._generators):
            scores[row] -= torch.empty_like(scores[row]).exponential_(generator=generator).log()
        return scores


def _compiler(tokenizer: Any, vocabulary: int, ends: list[int]) -> Callable[[str], Any] | None:
    """What makes a grammar of a JSON schema, and keeps it; None without xgrammar, or where it cannot read the tokenizer."""
    if find_spec("xgrammar") is None:
        return None
    xgrammar = import_module("xgrammar")
    try:
        tokens = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocabulary, stop_token_ids=ends or None)
    except ValueError:
        return None
    compiler = xgrammar.GrammarCompiler(tokens)

    def compiled(schema: str) -> Any:
        try:
            return compiler.compile_json_schema(schema, any_whitespace=False, separators=(",", ":"))
        except RuntimeError as error:
            raise ValueError(f"the schema makes no grammar: {one_line(error)}") from error

    return compiled
