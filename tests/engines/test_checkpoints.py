"""What tells checkpoints apart: files of any content will do."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from transforms.models import engines
from transforms.models.checkpoints import CheckpointError, fingerprint
from transforms.models.settings import ModelSettings

pytestmark = pytest.mark.engines

FILES = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "generation_config.json": b"{}",
    "chat_template.jinja": b"{{ x }}",
    "model-00001-of-00002.safetensors": bytes(12_000_000),
    "1_Pooling/config.json": b"{}",
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "model"


def test_a_copy_elsewhere_is_the_same_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(checkpoint, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    assert fingerprint(str(copy)) == fingerprint(str(checkpoint))
    assert fingerprint(str(copy)).startswith("sha256:")


@pytest.mark.parametrize("name", FILES)
def test_each_file_counts(checkpoint: Path, name: str) -> None:
    before = fingerprint(str(checkpoint))
    path = checkpoint / name
    content = path.read_bytes()
    seen = set()
    for changed in (content[:-1] + b"!", b"!" + content[1:], content + b"\0"):
        path.write_bytes(changed)
        seen.add(fingerprint(str(checkpoint)))
    path.unlink()
    seen.add(fingerprint(str(checkpoint)))
    assert len(seen - {before}) == len(seen) >= 3


def test_a_change_of_a_few_percent_within_the_weights_counts(checkpoint: Path) -> None:
    before = fingerprint(str(checkpoint))
    path = checkpoint / "model-00001-of-00002.safetensors"
    path.write_bytes(bytes(6_000_000) + b"\1" * 500_000 + bytes(5_500_000))
    assert fingerprint(str(checkpoint)) != before


@pytest.mark.parametrize(
    "name", ["README.md", "trainer_state.json", "optimizer.pt", "checkpoint-500/config.json", ".lock.json"]
)
def test_what_lies_beside_the_model_does_not_count(checkpoint: Path, name: str) -> None:
    before = fingerprint(str(checkpoint))
    (checkpoint / name).parent.mkdir(exist_ok=True)
    (checkpoint / name).write_text("{}")
    assert fingerprint(str(checkpoint)) == before


def test_a_revision_is_the_commit_that_the_cache_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    commit = "0123456789abcdef" * 2 + "01234567"
    home = tmp_path / "models--owner--name"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    (home / "snapshots" / commit).mkdir(parents=True)
    (home / "snapshots" / commit / "config.json").write_text("{}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    assert fingerprint("owner/name") == fingerprint("owner/name", "main") == f"owner/name@{commit}"
    assert fingerprint("owner/name", "v2") == "owner/name@v2"
    assert fingerprint("owner/name", commit[::-1]) == f"owner/name@{commit[::-1]}"
    assert fingerprint("owner/unknown") == "owner/unknown@main"


def test_no_folder_and_no_id_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        fingerprint(str(tmp_path / "nothing"))
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        fingerprint(str(tmp_path))


@pytest.mark.skipif(find_spec("torch") is not None, reason="the packages are there")
@pytest.mark.parametrize("name", ["vllm", "transformers"])
def test_an_engine_without_its_package_names_the_extra(name: str, checkpoint: Path) -> None:
    settings = TypeAdapter(ModelSettings).validate_python({"engine": name, "model": str(checkpoint)})
    for use in (engines.identity, engines.running):
        with pytest.raises(engines.EngineUnavailableError, match=rf"pip install 'sluice-curation\[{name}\]'"):
            use(settings)
