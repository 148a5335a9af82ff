"""How a scenario runs a client program, and what it notes."""

import json
import subprocess
import time
from collections import namedtuple

from stack import client_environment

# Far more than a run needs, so that only a hang meets it.
RUN_S = 120
# After so many seconds the upstream asks to be asked again.
RETRY_AFTER_S = 7
BAD_KEY = "sk-nobody-has-this-one"
UNKNOWN = "no-such-model"

# What a client says it took in so many answers.
Seen = namedtuple("Seen", "answers prompt output")


class Run:
    """One run of a program to its end, in a home of its own that holds these files."""

    def __init__(self, stack, home, command, environment, files=None):
        home = stack.folder / home
        environment = client_environment(home, **environment)
        for name, text in (files or {}).items():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text(text)
        done = subprocess.run(
            [str(part) for part in command],
            cwd=home,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=RUN_S,
        )
        self.code, self.stdout, self.stderr = done.returncode, done.stdout, done.stderr

    def parsed(self, text):
        """JSON that the program printed."""
        try:
            return json.loads(text)
        except ValueError:
            raise AssertionError(f"no JSON\n{self.stdout}{self.stderr}") from None


# What the path of a request ends with on each wire.
PATHS = {
    "anthropic": "/v1/messages",
    "chat": "/v1/chat/completions",
    "gemini": ":streamGenerateContent",
    "responses": "/v1/responses",
}


def on(wire, scenario):
    """A scenario with an upstream of this one wire, which is not the client's own."""

    def converted(stack):
        return scenario(stack, wire)

    converted.__name__ = f"on_{wire}"
    return converted


class Watch:
    """What the upstream receives from here on."""

    def __init__(self, stack):
        self.stack, self.before, self.began = stack, len(stack.received()), time.monotonic()

    def received(self, count):
        """The requests since then, which must be so many, with their bodies parsed."""
        requests = self.stack.received(self.before + count)[self.before :]
        expect(len(requests), count)
        for request in requests:
            for key in self.stack.keys.values():
                expect(key in json.dumps(request), False)
            request["json"] = json.loads(request["body"])
        return requests

    def converted(self, count, wire):
        """The requests since then, as an upstream of this wire must have received them, streams all."""
        requests = self.received(count)
        for request in requests:
            expect(request["path"].endswith(PATHS[wire]), True)
            expect(wire == "gemini" or request["json"]["stream"], True)
            expect("anthropic-beta" in request["headers"], False)
        return requests

    def repeated_when_told(self):
        """The same request twice, the second no earlier than the first one's answer asked for."""
        first, second = self.received(2)
        expect(second["path"], first["path"])
        waited = time.monotonic() - self.began
        expect((waited >= RETRY_AFTER_S, waited), (True, waited))


def expect(found, wanted):
    if found != wanted:
        raise AssertionError(f"found {found!r}, wanted {wanted!r}")


def expect_in(part, whole):
    if part not in whole:
        raise AssertionError(f"no {part!r} in {whole!r}")
