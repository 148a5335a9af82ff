"""A test suite in another language or environment: how it is run, and what it prints at its end."""

import json
import re
import subprocess

from stack import client_environment

SUITE_S = 300


class Suite:
    """A runner's child that tests as the client `name`; its ledger holds the answers whose usage it was told."""

    def __init__(self, stack, name, command, **environment):
        home = stack.folder / name
        self.ledger = stack.folder / f"{name}.jsonl"
        environment = client_environment(
            home,
            TOLLGATE_URL=stack.url,
            TOLLGATE_KEY=stack.keys[name],
            TOLLGATE_CLIENT=name,
            TOLLGATE_UPSTREAM_LOG=str(stack.log),
            TOLLGATE_LEDGER=str(self.ledger),
            **environment,
        )
        self.child = subprocess.Popen(
            [str(part) for part in command],
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def output(self):
        """All that it printed, once it has ended."""
        try:
            return self.child.communicate(timeout=SUITE_S)[0]
        except subprocess.TimeoutExpired:
            self.child.kill()
            return self.child.communicate()[0] + f"\nstill running after {SUITE_S} s\n"

    def seen(self):
        lines = self.ledger.read_text().splitlines() if self.ledger.exists() else []
        return [json.loads(line) for line in lines]


def python(interpreter, folder):
    """The command that runs a folder's Python suite; the SDKs leave their connections to the end of the process."""
    return [interpreter, "-BW", "ignore::ResourceWarning", "-m", "unittest", "discover", "-vs", folder]


def javascript(folder):
    return ["node", "--test", "--test-reporter=spec", *sorted(folder.glob("*.test.js"))]


def tally(output):
    """How many tests passed, by the closing lines of both runners."""
    ran = re.search(r"^Ran (\d+) tests? in", output, re.MULTILINE)
    bad = sum(int(count) for count in re.findall(r"(?:failures|errors)=(\d+)", output))
    passed = re.search(r"^ℹ pass (\d+)$", output, re.MULTILINE)
    return int(ran[1]) - bad if ran else int(passed[1]) if passed else 0
