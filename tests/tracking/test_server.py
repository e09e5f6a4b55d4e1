"""A real MLflow server that is slow, goes away and comes back: the sweep waits for nothing, and no run is lost."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from simulated import make_facts

from avil_ray.reports.comparison import compare
from avil_ray.reports.records import read_records, trial_folder, write_record
from avil_ray.storage import at
from avil_ray.tracking.missing import send_missing
from avil_ray.tracking.outbox import Outbox, unsent

SUMMARY = {"sweep": "first sweep", "methods": [{"label": "equal", "trials": 1}], "comparisons": []}
TRIALS = 20


@pytest.fixture(scope="module")
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(store, port):
    """MLflow's own server on the store, until the block ends or it is killed."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--artifacts-destination", str(store.path.parent / "artifacts")]
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": store.uri}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=environment, start_new_session=True, **quiet)
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            try:
                requests.get(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except requests.ConnectionError:
                time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Slow(ThreadingHTTPServer):
    """Passes requests on to a server on another port, each after a while."""

    daemon_threads = True

    def __init__(self, port, delay):
        super().__init__(("127.0.0.1", 0), Passing)
        self.target, self.delay, self.asked = f"http://127.0.0.1:{port}", delay, []


class Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def pass_on(self):
        self.server.asked.append(self.path.partition("?")[0])
        time.sleep(self.server.delay)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name != "Host"}
        answer = requests.request(self.command, self.server.target + self.path, data=body, headers=headers, timeout=60)
        self.send_response(answer.status_code)
        self.send_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = do_PUT = do_PATCH = pass_on  # noqa: N815 (names that http.server calls)

    def log_message(self, *_):
        pass


@contextmanager
def slow(port, delay=0.1):
    server = Slow(port, delay)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "storage" / "first sweep"
    place.mkdir(parents=True)
    return place


def key(seed):
    return f"equal/c000/s{seed}"


def facts(seed):
    return {"label": "equal", "method": "static", "configuration": 0, "seed": seed, "options": {"rate": 0.5}}


def run_trials(outbox, folder, record, seeds):
    for seed in seeds:
        outbox.start(key(seed), facts(seed))
        for number in range(3):
            outbox.row(key(seed), number, pickle.dumps({"round": number, "select/accuracy": number / 10}))
        write_record(trial_folder(folder, key(seed)), record(seed, key=key(seed)))
        outbox.end(key(seed), "FINISHED")


def assert_all_is_there_once(store):
    runs = store.runs()
    assert set(runs) == {store.sweep, *(f"{store.sweep}/{key(seed)}" for seed in range(TRIALS))}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for seed in range(TRIALS):
        assert [step for step, _ in store.history(key(seed), "round")] == [0, 1, 2]


@pytest.mark.slow
def test_a_slow_server_costs_the_sweep_nothing_and_is_asked_little(store, port, folder, record):
    with serving(store, port), slow(port) as server:
        uri = f"http://127.0.0.1:{server.server_port}"
        with Outbox(uri, store.experiment, store.sweep, folder) as outbox:
            outbox.reach()
            outbox.prepare()
            server.asked.clear()
            began = time.monotonic()
            run_trials(outbox, folder, record, range(TRIALS))
            assert time.monotonic() - began < 20 * 0.1, "of the time that as many calls take"
            outbox.finish(SUMMARY, "FINISHED")
        assert outbox.trouble is None
        of_trials = [path for path in server.asked if path.rpartition("/")[2] in ("create", "log-batch", "update")]
        assert len(of_trials) <= 5 * TRIALS + 5
    assert_all_is_there_once(store)


@pytest.mark.faults
def test_a_server_that_is_gone_for_a_while_gets_all_that_it_missed_once(store, port, folder, record, caplog):
    uri = f"http://127.0.0.1:{port}"
    with serving(store, port):
        outbox = Outbox(uri, store.experiment, store.sweep, folder).__enter__()
        outbox.reach()
        outbox.prepare()
        run_trials(outbox, folder, record, range(5))
        time.sleep(1)  # in the middle of something, probably
    run_trials(outbox, folder, record, range(5, TRIALS))
    time.sleep(20)
    outbox.listen()
    assert caplog.text.count("the sweep goes on") <= 1
    with serving(store, port):
        outbox.finish(SUMMARY, "FINISHED")
        outbox.settled()
        outbox.__exit__(None, None, None)
    assert outbox.trouble is None
    assert unsent(folder) is None
    assert_all_is_there_once(store)


@pytest.mark.faults
def test_what_a_server_that_is_gone_for_good_lacks_is_sent_by_a_report(store, port, folder, record):
    uri = f"http://127.0.0.1:{port}"
    with serving(store, port):
        outbox = Outbox(uri, store.experiment, store.sweep, folder).__enter__()
        outbox.prepare()
    run_trials(outbox, folder, record, range(TRIALS))
    began = time.monotonic()
    outbox.finish(SUMMARY, "FINISHED")
    assert time.monotonic() - began < 90
    outbox.settled()
    outbox.__exit__(None, None, None)
    assert "Connection refused" in str(outbox.trouble) or "Max retries" in str(outbox.trouble)
    assert unsent(folder) == "FINISHED"

    sweep = make_facts(("equal",), seeds=tuple(range(TRIALS)), name="first sweep", suite=store.experiment)
    comparison = compare(read_records(folder), sweep)
    assert "cannot be opened" in str(send_missing(uri, at(folder), comparison))
    with serving(store, port):
        assert send_missing(uri, at(folder), comparison) is None
    assert unsent(folder) is None
    assert_all_is_there_once(store)
