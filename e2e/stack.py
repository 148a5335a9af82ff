"""The real gateway in front of the scripted upstream, for as long as a `with` block lasts."""

import json
import os
import re
import secrets
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Empty, Queue

import alone
import catalog

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# Far more than either program needs, so that only a hang meets it.
START_S = 60
STOP_S = 30
LOG_S = 10


class Program:
    """A child whose output is watched for a line, and kept for the report of a failure."""

    def __init__(self, arguments, environment):
        self.name = Path(arguments[0]).name
        self.lines = []
        self.news = Queue()
        self.child = subprocess.Popen(
            [str(part) for part in arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.child.stdout:
            self.lines.append(line)
            self.news.put(line)
        self.news.put(None)

    def address(self):
        """The first address that the program says it listens on."""
        while True:
            try:
                line = self.news.get(timeout=START_S)
            except Empty:
                raise SystemExit(f"{self.name} named no address within {START_S} s\n{self.output()}") from None
            if line is None:
                raise SystemExit(f"{self.name} ended before it named an address\n{self.output()}")
            if found := re.search(r"(?:http://)?(127\.0\.0\.1:[1-9]\d*)", line):
                return f"http://{found[1]}"

    def output(self):
        return "".join(self.lines)

    def stop(self):
        """Ends the program as an operator does, and says how that went."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            code = self.child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            code = self.child.wait()
        self.reader.join(STOP_S)
        return code


class Stack:
    """Addresses and files of what runs."""

    def __init__(self, folder, clients):
        self.folder = Path(folder)
        self.keys = {client: "sk-e2e-" + secrets.token_hex(16) for client in clients}
        self.data = self.folder / "data"
        self.log = self.folder / "upstream.jsonl"
        self.url = self.gateway = None

    def received(self, least=0):
        """What the upstream received so far, `least` requests at least: it writes its log beside its answers."""
        deadline = time.monotonic() + LOG_S
        while True:
            # What stands behind the last line's end is still being written.
            lines = self.log.read_text().split("\n")[:-1] if self.log.exists() else []
            if len(lines) >= least or time.monotonic() > deadline:
                return [json.loads(line) for line in lines]
            time.sleep(0.01)

    def database(self):
        return self.data / "tollgate.db"


def build():
    """The two programs: those that are given, else in the profile that the tests have built already."""
    if given := os.environ.get("TOLLGATE_E2E_PROGRAMS"):
        return Path(given) / "tollgate", Path(given) / "mockllm"
    packages = ["--package", "tollgate", "--package", "tollgate-testkit"]
    subprocess.run(["cargo", "build", "--locked", "--bins", *packages], cwd=ROOT, check=True)
    return TARGET / "debug" / "tollgate", TARGET / "debug" / "mockllm"


def client_environment(home, **more):
    """What a client program may see: a home of its own, no proxy, no key of anybody's."""
    home.mkdir(exist_ok=True)
    return {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "NO_PROXY": "*",
        "PATH": os.environ["PATH"],
        "TMPDIR": str(home),
        **more,
    }


@contextmanager
def running(*clients, pairs=()):
    """Starts both programs on free ports and a new database that knows these clients, and ends them at the end.

    `pairs` are the clients that try every pair of wires.

    From then on this process and its children reach nothing but each other.
    """
    tollgate, mockllm = build()
    if not alone.enter():
        print("the clients share this machine's network: it does not let this user make another")
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="tollgate-e2e-")))
        stack = Stack(folder, clients)
        plain = client_environment(folder / "home")

        upstream = Program([mockllm, "--listen", "127.0.0.1:0", "--log-requests", stack.log], plain)
        ending.callback(upstream.stop)
        document = folder / "catalog.json"
        document.write_text(json.dumps(catalog.document(upstream.address(), stack.keys, pairs)))

        environment = {**plain, "TOLLGATE_DATA_DIR": str(stack.data), "TOLLGATE_LISTEN": "127.0.0.1:0"}
        applied = subprocess.run(
            [tollgate, "apply", document], cwd=folder, env=environment, capture_output=True, text=True
        )
        if applied.returncode:
            raise SystemExit(f"tollgate apply failed\n{applied.stdout}{applied.stderr}")

        stack.gateway = Program([tollgate, "serve"], environment)
        ending.callback(stack.gateway.stop)
        stack.url = stack.gateway.address()
        yield stack
