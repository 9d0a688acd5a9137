"""A pool of Python workers beside a Spark or Flink executor, for Beam's ``EXTERNAL`` environment.

Beam's own (``apache_beam.runners.worker.worker_pool_main``) works as well, but listens on every address, starts whatever
``python`` is first on PATH, and stops a worker that prints 64 KiB. This one starts its own Python, which imports no module
of the directory that it stands in.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, Final

import grpc  # type: ignore[import-untyped]
from apache_beam.portability.api import beam_fn_api_pb2 as api
from apache_beam.portability.api import beam_fn_api_pb2_grpc as services

from pipelines import worker

_KEEP_ALIVE: Final = [("grpc.http2.max_pings_without_data", 0), ("grpc.http2.max_ping_strikes", 0)]
_STOP_SECONDS: Final = 10
_SIDE_INPUT_BYTES: Final = 64 * 1024 * 1024


class WorkerPool(services.BeamFnExternalWorkerPoolServicer):
    """Starts and stops a process for each worker that an executor asks for."""

    def __init__(self, log: IO[bytes] | None) -> None:
        self.log = log
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def StartWorker(self, request: Any, context: Any) -> Any:  # noqa: N802  # Beam's name
        command = [sys.executable, "-P", "-m", "pipelines.worker_pool", request.control_endpoint.url, request.worker_id]
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        except OSError as error:
            return api.StartWorkerResponse(error=f"{command[0]}: {error}")
        self.workers[request.worker_id] = process
        threading.Thread(target=self._watch, args=(request.worker_id, process), daemon=True).start()
        return api.StartWorkerResponse()

    def _watch(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Tell of a worker that is killed: its executor may wait for it for ever, and says nothing."""
        ended = process.wait()
        if self.workers.get(name) is process:
            del self.workers[name]
            if ended < 0:
                told = f"worker {name}: killed by signal {-ended}\n"
                os.write(self.log.fileno() if self.log else sys.stderr.fileno(), told.encode())

    def StopWorker(self, request: Any, context: Any) -> Any:  # noqa: N802  # Beam's name
        process = self.workers.pop(request.worker_id, None)
        if process is not None:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return api.StopWorkerResponse()


def serve(host: str, port: int, log: IO[bytes] | None = None) -> tuple[str, grpc.Server]:
    """Start a pool, at a free port if ``port`` is 0, whose workers print to ``log``. Returns its address and its server.

    Raises:
        OSError: the port is taken.
    """
    server = grpc.server(ThreadPoolExecutor(), options=[*_KEEP_ALIVE, ("grpc.so_reuseport", 0)])
    services.add_BeamFnExternalWorkerPoolServicer_to_server(WorkerPool(log), server)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise OSError(f"{host}:{port}: expected a free port: {error}") from error
    os.environ["PYTHONSAFEPATH"] = "1"
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    server.start()
    return f"{host}:{bound}", server


def work(control: str, name: str) -> None:
    """Be a worker: Beam's harness, which ends with the pool that started it."""
    threading.Thread(target=worker.die_with, args=(os.getppid(),), daemon=True).start()
    from apache_beam.runners.worker.sdk_worker import SdkHarness

    try:
        SdkHarness(control, worker_id=name, state_cache_size=_SIDE_INPUT_BYTES).run()
    except grpc.RpcError as error:
        sys.stderr.write(f"worker {name}: its executor is gone: {error.details()}\n")
        os._exit(1)  # the harness's threads would finish what they are at


if __name__ == "__main__":
    work(*sys.argv[1:])
