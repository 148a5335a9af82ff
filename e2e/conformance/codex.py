"""Codex in exec mode, which speaks Responses."""

import json

import clients
from catalog import MODEL, UPSTREAM_MODEL, limited, only
from harness import BAD_KEY, UNKNOWN, Run, Seen, Watch, expect, expect_in, on

NAME = "codex"
FORMATS = {"OPENAI_CLI"}
VERSION = "0.169.0"

CONFIG = """
model = {model}
model_provider = "tollgate"
approval_policy = "never"
# The scenario's commands are our own, and the sandbox needs what a container may not have.
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false

[analytics]
enabled = false

[feedback]
enabled = false

[model_providers.tollgate]
name = "Tollgate"
base_url = {base_url}
env_key = "TOLLGATE_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
"""


class Codex(Run):
    """`resumed`: another run's home, whose conversation goes on."""

    def __init__(self, stack, home, prompt, key=None, model=MODEL, resumed=False):
        config = CONFIG.format(model=json.dumps(model), base_url=json.dumps(f"{stack.url}/v1"))
        place = stack.folder / f"codex-{home}"
        environment = {"CODEX_HOME": str(place / "config"), "TOLLGATE_KEY": key or stack.keys[NAME]}
        command = [clients.program("codex"), "exec", "--json", "--skip-git-repo-check"]
        command += ["resume", "--last", prompt] if resumed else [prompt]
        super().__init__(stack, place.name, command, environment, {"config/config.toml": config})
        self.events = [self.parsed(line) for line in self.stdout.splitlines()]

    def items(self, kind):
        done = [event["item"] for event in self.events if event["type"] == "item.completed"]
        return [item for item in done if item["type"] == kind]

    def answer(self):
        """The last thing it said, the run having ended well."""
        expect((self.code, self.events[-1]["type"]), (0, "turn.completed"))
        return self.items("agent_message")[-1]["text"]

    def failure(self):
        expect((self.code, self.events[-1]["type"]), (1, "turn.failed"))
        return self.events[-1]["error"]["message"]

    def seen(self, answers=1):
        usage = self.events[-1]["usage"]
        return Seen(answers, usage["input_tokens"], usage["output_tokens"])


def tool_round_trip(stack):
    """The upstream asks for a command, Codex runs it and hands back what it printed."""
    watch = Watch(stack)
    codex = Codex(stack, "tools", '[[tool exec_command {"cmd":"echo tollgate-$((40+2))"}]]')
    expect_in("tollgate-42", codex.answer())
    expect([item["aggregated_output"] for item in codex.items("command_execution")], ["tollgate-42\n"])
    turns = watch.received(2)
    thread = codex.events[0]["thread_id"]
    for turn in turns:
        headers, body = turn["headers"], turn["json"]
        expect((turn["path"], turn["query"]), ("/v1/responses", ""))
        expect_in(f"codex_exec/{VERSION}", headers["user-agent"])
        expect((headers["originator"], headers["session-id"], headers["thread-id"]), ("codex_exec", thread, thread))
        expect_in(thread, headers["x-codex-turn-metadata"])
        expect(headers["authorization"], "Bearer upstream-responses")
        expect((body["model"], body["stream"], body["store"]), (UPSTREAM_MODEL, True, False))
        expect(body["prompt_cache_key"], thread)
        expect_in("namespace", [tool["type"] for tool in body["tools"]])
    call, result = (turns[1]["json"]["input"][-2:])
    expect((call["type"], result["type"]), ("function_call", "function_call_output"))
    expect(call["call_id"], result["call_id"])
    return codex.seen(2)


def parallel_tools(stack):
    """Two commands are asked for at once; both results go back in one request."""
    calls = " ".join(f'exec_command {{"cmd":"echo toll-{word}"}}' for word in ("one", "two"))
    watch = Watch(stack)
    codex = Codex(stack, "parallel", f"[[tools {calls}]]")
    for word in ("one", "two"):
        expect_in(f"toll-{word}", codex.answer())
    results = [item for item in watch.received(2)[1]["json"]["input"] if item["type"] == "function_call_output"]
    expect(len(results), 2)
    return codex.seen(2)


def conversation_goes_on(stack):
    """A second run resumes the first one's conversation and sends all of it, its encrypted reasoning too."""
    watch = Watch(stack)
    first = Codex(stack, "talk", "[[think about the toll]]")
    expect(first.answer(), "Done thinking.")
    expect(len(first.items("reasoning")), 1)
    second = Codex(stack, "talk", "[[say the toll is paid]]", resumed=True)
    expect(second.answer(), "the toll is paid")
    expect(second.events[0]["thread_id"], first.events[0]["thread_id"])
    history = watch.received(2)[1]["json"]["input"]
    reasoning = next(item for item in history if item["type"] == "reasoning")
    expect(bool(reasoning["encrypted_content"]), True)
    expect_in("Done thinking.", json.dumps(history))
    # What it reports is the conversation's total.
    return second.seen(2)


def converted(stack, wire):
    """A conversation with thoughts and tools, by a model that is served on another wire."""
    watch = Watch(stack)
    home, model = f"on-{wire}", only(wire)
    first = Codex(stack, home, "[[think about the toll]]", model=model)
    expect(first.answer(), "Done thinking.")
    calls = " ".join(f'exec_command {{"cmd":"echo toll-{word}"}}' for word in ("one", "two"))
    second = Codex(stack, home, f"[[tools {calls}]]", model=model, resumed=True)
    for word in ("one", "two"):
        expect_in(f"toll-{word}", second.answer())
    expect([item["exit_code"] for item in second.items("command_execution")], [0, 0])
    requests = watch.converted(3, wire)
    expect_in("Done thinking.", requests[1]["body"])
    # Tools within a namespace are offered too, under names of their own.
    expect_in("multi_agent_v1", json.dumps(requests[0]["json"]["tools"]))
    return second.seen(3)


def bad_key(stack):
    watch = Watch(stack)
    message = Codex(stack, "stranger", "hello", key=BAD_KEY).failure()
    expect_in("401 Unauthorized: Incorrect API key provided", message)
    expect(BAD_KEY in message, False)
    watch.received(0)


def unknown_model(stack):
    """The gateway's words reach the user as they are."""
    watch = Watch(stack)
    message = Codex(stack, "lost", "hello", model=UNKNOWN).failure()
    expect(message, f"The model `{UNKNOWN}` does not exist or you do not have access to it.")
    watch.received(0)


def rate_limit(stack):
    message = Codex(stack, "limited", "[[error rate_limited]]", model=limited(NAME)).failure()
    expect_in("429 Too Many Requests", message)


def broken_stream(stack):
    """A stream that breaks off upstream is no finished answer to the client either."""
    codex = Codex(stack, "cut", "[[cut]]", model=limited(NAME))
    expect((codex.code, codex.events[-1]["type"]), (1, "turn.failed"))


SCENARIOS = [
    tool_round_trip,
    parallel_tools,
    conversation_goes_on,
    on("anthropic", converted),
    on("chat", converted),
    on("gemini", converted),
    bad_key,
    unknown_model,
    broken_stream,
    rate_limit,
]
