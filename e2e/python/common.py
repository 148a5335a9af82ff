"""What the suites share: where the gateway is, and the ledger of what the SDKs saw."""

import json
import os

URL = os.environ["TOLLGATE_URL"]
KEY = os.environ["TOLLGATE_KEY"]
BAD_KEY = "sk-nobody-has-this-one"

MODEL = "mock-model"
LIMITED = os.environ["TOLLGATE_LIMITED"]
OVERLOADED = "overloaded"
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

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def record(test, request, prompt, output):
    """Notes what the SDK says one answer took; the runner compares it with the usage row."""
    assert prompt > 0 and output > 0, (prompt, output)
    entry = {"test": test.id(), "request": request, "input": prompt, "output": output}
    with open(os.environ["TOLLGATE_LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(json.dumps(entry) + "\n")
