"""Which model answers, and how it is reached: the part of a config that engines read.

What decides an answer (``identity``) is kept apart from what does not (addresses, keys, concurrency), so that moving to
another endpoint with the same model re-sends nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Settings(BaseModel):
    """Unknown keys are errors; values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Price(Settings):
    """Currency units per million tokens."""

    input: float = Field(0.0, ge=0)
    output: float = Field(0.0, ge=0)


class OpenAISettings(Settings):
    """Any endpoint that speaks OpenAI's API: hosted, ``vllm serve``, SGLang."""

    engine: Literal["openai"]
    model: str = Field(min_length=1)
    revision: str | None = Field(None, description="declared by you: what tells two models under one name apart")
    base_url: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ("https://api.openai.com/v1",), description="one address, or several for failover"
    )
    api_key_env: str = Field("OPENAI_API_KEY", description="name of the environment variable that holds the key")
    mode: Literal["online", "batch"] = Field("online", description="batch: the provider's half-price batch endpoint")
    in_flight: int = Field(64, ge=1, le=4096, description="requests at once, at most")
    timeout: float = Field(120.0, gt=0, description="seconds for one try, from first to last byte")
    max_tries: int = Field(6, ge=1, description="tries at a request the endpoint could not take")
    max_wait: float = Field(60.0, gt=0, description="longest pause between tries in seconds; Retry-After is cut to it")
    max_answer_bytes: int = Field(4 * 1024 * 1024, gt=0)
    structured: Literal["json_schema", "json_object", "none"] = Field(
        "json_schema", description="how the endpoint is told to answer in JSON; answers are validated in any case"
    )
    extra_body: dict[str, Any] = Field(default_factory=dict, description="further fields of the request's body")
    price: Price = Price()

    @field_validator("base_url", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class VLLMSettings(Settings):
    """vLLM inside the worker process."""

    engine: Literal["vllm"]
    model: str = Field(min_length=1, description="a local checkpoint, or a Hugging Face id")
    revision: str | None = None
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    in_flight: int = Field(256, ge=1, description="sequences in the engine at once (max_num_seqs)")
    max_model_len: int | None = Field(None, ge=16)
    options: dict[str, Any] = Field(default_factory=dict, description="further arguments of vllm.EngineArgs")
    price: Price = Price()


class TransformersSettings(Settings):
    """A local checkpoint through transformers, on CPU or GPU."""

    engine: Literal["transformers"]
    model: str = Field(min_length=1, description="a local checkpoint, or a Hugging Face id")
    revision: str | None = None
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, ...")
    in_flight: int = Field(16, ge=1, description="sequences in a batch")
    price: Price = Price()


class RulesSettings(Settings):
    """No model: rules, deterministic."""

    engine: Literal["rules"] = "rules"


ModelSettings = Annotated[OpenAISettings | VLLMSettings | TransformersSettings, Field(discriminator="engine")]
AnySettings = Annotated[
    RulesSettings | OpenAISettings | VLLMSettings | TransformersSettings, Field(discriminator="engine")
]


class Sampling(Settings):
    """How an answer is drawn. All of it is part of a request's key."""

    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(1024, ge=1)
    seed: int | None = Field(0, description="sent where the engine takes one; a new attempt adds to it")
