"""Gemini CLI in prompt mode."""

import json

import clients
from catalog import MODEL, UPSTREAM_MODEL, limited, only
from harness import BAD_KEY, UNKNOWN, Run, Seen, Watch, expect, expect_in, on

NAME = "gemini-cli"
FORMATS = {"GEMINI_CLI"}
VERSION = "0.61.0"

SETTINGS = {
    "security": {"auth": {"selectedType": "gemini-api-key"}},
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
}


class Gemini(Run):
    """A run that may use every tool without asking; `goes_on`: the last conversation in this home does."""

    def __init__(self, stack, home, prompt, key=None, model=MODEL, output="json", files=None, attempts=1, goes_on=False):
        environment = {
            "GEMINI_API_KEY": key or stack.keys[NAME],
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
            "GOOGLE_GEMINI_BASE_URL": stack.url,
        }
        command = [clients.program("gemini"), "-m", model, "--yolo", "--output-format", output, "-p", prompt]
        command += ["--resume", "latest"] if goes_on else []
        settings = {**SETTINGS, "general": {**SETTINGS["general"], "maxAttempts": attempts}}
        files = {".gemini/settings.json": json.dumps(settings), **(files or {})}
        super().__init__(stack, f"gemini-{home}", command, environment, files)

    def result(self):
        """What it printed, the run having ended well."""
        expect((self.code, self.stderr if self.code else ""), (0, ""))
        return self.parsed(self.stdout)

    def failure(self):
        """The error it ended with, which it prints behind its log."""
        expect(self.code != 0, True)
        start = self.stderr.rindex('{\n  "session_id"')
        return self.parsed(self.stderr[start:])["error"]


def seen(result):
    models = result["stats"]["models"].values()
    tokens = [model["tokens"] for model in models]
    answers = sum(model["api"]["totalRequests"] for model in models)
    output = sum(counts["candidates"] + counts["thoughts"] for counts in tokens)
    return Seen(answers, sum(counts["prompt"] for counts in tokens), output)


def tool_round_trip(stack):
    """The upstream asks for a file, Gemini CLI reads it and hands it back."""
    watch = Watch(stack)
    files = {"note.txt": "the toll is seven"}
    result = Gemini(stack, "tools", '[[tool read_file {"file_path":"note.txt"}]]', files=files).result()
    expect(result["response"], "tool said: the toll is seven")
    expect(result["stats"]["tools"]["byName"]["read_file"]["success"], 1)
    turns = watch.received(2)
    for turn in turns:
        headers = turn["headers"]
        expect(turn["path"], f"/v1beta/models/{UPSTREAM_MODEL}:streamGenerateContent")
        expect(turn["query"], "alt=sse")
        expect_in(f"GeminiCLI-tui/{VERSION}/{MODEL}", headers["user-agent"])
        expect(headers["x-goog-api-key"], "upstream-gemini")
    call, result_part = (content["parts"][-1] for content in turns[1]["json"]["contents"][-2:])
    # The signature that came with the call goes back with it.
    expect(("functionCall" in call, bool(call.get("thoughtSignature"))), (True, True))
    expect(result_part["functionResponse"]["name"], "read_file")
    return seen(result)


def parallel_tools(stack):
    """A command and a file at once."""
    files = {"note.txt": "the toll is seven"}
    calls = 'run_shell_command {"command":"expr 40 + 2"} read_file {"file_path":"note.txt"}'
    watch = Watch(stack)
    result = Gemini(stack, "parallel", f"[[tools {calls}]]", files=files).result()
    expect_in("42", result["response"])
    expect_in("the toll is seven", result["response"])
    parts = watch.received(2)[1]["json"]["contents"][-1]["parts"]
    expect([part["functionResponse"]["name"] for part in parts if "functionResponse" in part], ["run_shell_command", "read_file"])
    return seen(result)


def events_as_they_come(stack):
    gemini = Gemini(stack, "events", "[[say the toll is paid]]", output="stream-json")
    expect(gemini.code, 0)
    events = [json.loads(line) for line in gemini.stdout.splitlines()]
    deltas = [event["content"] for event in events if event.get("role") == "assistant"]
    expect(("".join(deltas), len(deltas) > 1), ("the toll is paid", True))
    expect((events[-1]["type"], events[-1]["status"]), ("result", "success"))
    stats = events[-1]["stats"]
    return Seen(1, stats["input_tokens"], stats["output_tokens"])


def converted(stack, wire):
    """A conversation with thoughts and tools, by a model that is served on another wire."""
    watch = Watch(stack)
    home, model = f"on-{wire}", only(wire)
    first = Gemini(stack, home, "[[think about the toll]]", model=model).result()
    expect(first["response"], "Done thinking.")
    files = {"note.txt": "the toll is seven"}
    calls = 'run_shell_command {"command":"expr 40 + 2"} read_file {"file_path":"note.txt"}'
    second = Gemini(stack, home, f"[[tools {calls}]]", model=model, files=files, goes_on=True).result()
    for text in ("42", *files.values()):
        expect_in(text, second["response"])
    requests = watch.converted(3, wire)
    expect_in("Done thinking.", requests[1]["body"])
    return [seen(first), seen(second)]


def bad_key(stack):
    watch = Watch(stack)
    error = Gemini(stack, "stranger", "hello", key=BAD_KEY).failure()
    expect(error["code"], 400)
    expect_in("API_KEY_INVALID", error["message"])
    watch.received(0)


def unknown_model(stack):
    watch = Watch(stack)
    error = Gemini(stack, "lost", "hello", model=UNKNOWN).failure()
    expect(error["message"], f"models/{UNKNOWN} is not found, or is not supported for this method.")
    watch.received(0)


def rate_limit(stack):
    """It reads from the error's details when to come back, and does once."""
    watch = Watch(stack)
    error = Gemini(stack, "limited", "[[error rate_limited]]", model=limited(NAME), attempts=2).failure()
    expect(error["code"], 429)
    watch.repeated_when_told()
    expect_in("Suggested retry after 7s", error["message"])


SCENARIOS = [
    tool_round_trip,
    parallel_tools,
    events_as_they_come,
    on("chat", converted),
    on("responses", converted),
    on("anthropic", converted),
    bad_key,
    unknown_model,
    rate_limit,
]
