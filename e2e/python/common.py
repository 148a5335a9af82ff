"""What the suites share: where the gateway is, and the ledger of what the SDKs saw."""

import json
import os
import time

URL = os.environ["TOLLGATE_URL"]
KEY = os.environ["TOLLGATE_KEY"]
BAD_KEY = "sk-nobody-has-this-one"

MODEL = "mock-model"
CLIENT = os.environ["TOLLGATE_CLIENT"]
LIMITED = f"limited-{CLIENT}"
UNKNOWN = "no-such-model"

SAY = "[[say the toll is paid]]"
SAID = "the toll is paid"
CALL = '[[tool get_weather {"city":"Oslo"}]]'
ARGUMENTS = {"city": "Oslo"}
RESULT = "rain in Oslo"
TOLD = "tool said: rain in Oslo"
RATE_LIMITED = "[[error rate_limited]]"
OVERLOAD = "[[error overloaded]]"
# The scripted upstream asks to come back after so many seconds.
RETRY_AFTER_S = 7

# The upstream writes its log beside its answers.
LOG_S = 10

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def record(test, request, prompt, output):
    """Notes what the SDK says one answer took; the runner compares it with the usage row."""
    assert prompt > 0 and output > 0, (prompt, output)
    book(test, request, prompt, output)


def book(test, request, prompt, output=0):
    """Notes what the row must say of an answer that is not all words; `None` is an estimate above zero."""
    entry = {"test": test.id(), "request": request, "input": prompt, "output": output}
    with open(os.environ["TOLLGATE_LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(json.dumps(entry) + "\n")


def only(wire):
    """The model that only an upstream of this wire serves."""
    return f"only-{wire}"


def overloaded(wire):
    """The model whose upstream of this wire no other client overloads."""
    return f"overloaded-{CLIENT}-{wire}"


def provoked(kind, asked, served):
    """The model whose provider suffers only from this client's calls on one wire to an upstream of another."""
    return f"{kind}-{CLIENT}-{asked}-{served}"


def received(mark, count):
    """The requests with this mark that the upstream received, once there are so many."""
    deadline = time.monotonic() + LOG_S
    while True:
        with open(os.environ["TOLLGATE_UPSTREAM_LOG"], encoding="utf-8") as log:
            found = [json.loads(line) for line in log if mark in line and line.endswith("\n")]
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.01)
