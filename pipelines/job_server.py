"""Beam's Spark job server: a Java program between the pipeline and Spark. Where its jar is, and how one is assembled."""

from __future__ import annotations

import hashlib
import importlib.resources
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

from pipelines.config import ConfigError

ASSEMBLE: Final = "sluice spark-job-server"
_MAIN: Final = "org.apache.beam.runners.spark.SparkJobServerDriver"
_MAIN_ENTRY: Final = f"{_MAIN.replace('.', '/')}.class"
_SPARK_ENTRY: Final = "org/apache/spark/SparkContext.class"

_POLL_SECONDS: Final = 0.5
_STOP_SECONDS: Final = 5


class JobServerError(Exception):
    """Maven could not assemble the job server."""


def cache() -> Path:
    """The folder of what was assembled: ``sluice`` below the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sluice"


def assembled() -> Path:
    """Where an assembled job server is; another recipe gives another name."""
    return cache() / f"spark-job-server-{hashlib.sha256(_pom()).hexdigest()[:12]}.jar"


def assemble() -> Path:
    """Assemble the job server with Maven, unless it is there.

    Raises:
        ConfigError: Maven or Java is missing.
        JobServerError: Maven failed.
    """
    target = assembled()
    if target.exists():
        return target
    expect_java()
    if shutil.which("mvn") is None:
        raise ConfigError(
            "expected Maven (mvn) to assemble Beam's Spark job server, found none; install it "
            "(apt-get install maven), or give a job server with --spark_job_server_jar FILE"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        pom = Path(folder, "pom.xml")
        pom.write_bytes(_pom())
        sys.stderr.write("fetching and assembling Beam's job server, which takes some minutes, once\n")
        command = ["mvn", "--batch-mode", "--quiet", "--file", str(pom), "package"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            lines = [line for line in ended.stdout.splitlines() if line.startswith("[ERROR]")]
            raise JobServerError(f"mvn package: {(lines or ['failed'])[0].removeprefix('[ERROR] ')}")
        os.replace(Path(folder, "target", "spark-job-server.jar"), target)
    return target


def _pom() -> bytes:
    return importlib.resources.files("configs").joinpath("runners", "spark-job-server.xml").read_bytes()


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    return str(Path(home, "bin", "java")) if home else "java"


def expect_java() -> None:
    """Java must be there.

    Raises:
        ConfigError: it is not.
    """
    home = os.environ.get("JAVA_HOME")
    if shutil.which(_java()) is None:
        raise ConfigError(
            f"expected Java 11 or 17{f' in JAVA_HOME={home}' if home else ''}, found none; install it "
            "(apt-get install openjdk-17-jre-headless)"
        )


def become(arguments: list[str]) -> None:
    """Become Java with these arguments, in a session of its own, watched by a child that ends it when its starter ends.

    Java left behind would hold a cluster's cores for ever. A terminal's Ctrl-C is not for it: the driver cancels the job.
    """
    driver, java = psutil.Process(os.getppid()), os.getpid()
    os.setsid()
    if os.fork() == 0:
        with suppress(psutil.NoSuchProcess):
            while os.getppid() == java and driver.is_running() and driver.status() != psutil.STATUS_ZOMBIE:
                time.sleep(_POLL_SECONDS)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if os.getppid() == java:
                os.kill(java, number)
                time.sleep(_STOP_SECONDS)
        os._exit(0)
    os.execvp(_java(), [_java(), *arguments])  # noqa: S606


def find(given: str | None) -> Path:
    """The job server that was given, or the assembled one.

    Raises:
        ConfigError: there is none, or it is another jar.
    """
    jar = Path(given).resolve() if given else assembled()
    if not jar.is_file():
        if given:
            raise ConfigError(f"{given}: expected the jar of Beam's Spark 3 job server, found no file")
        raise ConfigError(
            f"expected Beam's Spark job server, found none; assemble it once with: {ASSEMBLE}; "
            "or give one with --spark_job_server_jar FILE"
        )
    if _MAIN_ENTRY not in _entries(jar):
        raise ConfigError(f"{jar}: expected the jar of Beam's Spark 3 job server, found no {_MAIN} in it")
    return jar


def with_spark(jar: Path) -> Path:
    """A jar that ``java -jar`` runs: the official one, which holds Spark, or one that names ours and pyspark's jars.

    Raises:
        ConfigError: pyspark is missing, or is not Spark 3.
    """
    if _SPARK_ENTRY in _entries(jar):
        return jar
    parts = [jar, *sorted((spark_home() / "jars").glob("*.jar"))]
    path = " ".join(part.as_uri() for part in parts)
    lines = ["Manifest-Version: 1.0", *_folded(f"Main-Class: {_MAIN}"), *_folded(f"Class-Path: {path}")]
    manifest = "\r\n".join(lines) + "\r\n"
    target = cache() / f"spark-{hashlib.sha256(manifest.encode()).hexdigest()[:12]}.jar"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            with zipfile.ZipFile(Path(folder, "spark.jar"), "w") as written:
                written.writestr("META-INF/MANIFEST.MF", manifest)
            os.replace(Path(folder, "spark.jar"), target)
    return target


def spark_home() -> Path:
    """The folder of Spark in the pyspark package.

    Raises:
        ConfigError: pyspark is missing, or is not Spark 3.
    """
    found = importlib.util.find_spec("pyspark")
    if found is None or found.origin is None:
        raise ConfigError("expected Spark 3 in the pyspark package, found none: pip install 'sluice-curation[spark]'")
    home = Path(found.origin).parent
    if not list((home / "jars").glob("spark-core_2.12-3.*.jar")):
        raise ConfigError(f"{home}: expected Spark 3 for Scala 2.12, found another: pip install 'pyspark==3.5.*'")
    return home


def _entries(jar: Path) -> set[str]:
    try:
        with zipfile.ZipFile(jar) as opened:
            return set(opened.namelist())
    except zipfile.BadZipFile:
        raise ConfigError(f"{jar}: expected the jar of Beam's Spark 3 job server, found no jar") from None


def _folded(line: str) -> list[str]:
    """A manifest's line of at most 72 bytes each, continued after a space."""
    first, rest = line[:70], line[70:]
    return [first, *(f" {part}" for part in (rest[at : at + 69] for at in range(0, len(rest), 69)))]


if __name__ == "__main__":
    become(sys.argv[1:])
