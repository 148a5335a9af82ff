"""Claude Code in print mode."""

import clients
from catalog import MODEL, UPSTREAM_MODEL, limited, only
from harness import BAD_KEY, UNKNOWN, Run, Seen, Watch, expect, expect_in, on

NAME = "claude-code"
FORMATS = {"CLAUDE_CLI"}
VERSION = "2.1.197"


def install(modules):
    # Puts the program of this platform, which is a package of the lock file, into its place.
    clients.run("node", modules / "@anthropic-ai" / "claude-code" / "install.cjs")


class Claude(Run):
    """`goes_on`: the last conversation in this home does."""

    def __init__(self, stack, home, prompt, credential=None, model=MODEL, tools=(), files=None, retries=0, goes_on=False):
        environment = {
            "ANTHROPIC_BASE_URL": stack.url,
            "ANTHROPIC_SMALL_FAST_MODEL": MODEL,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": str(retries),
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "DISABLE_TELEMETRY": "1",
            **(credential or {"ANTHROPIC_AUTH_TOKEN": stack.keys[NAME]}),
        }
        command = [clients.program("claude"), "-p", prompt, "--output-format", "json", "--model", model]
        if goes_on:
            command.append("--continue")
        if tools:
            command += ["--allowedTools", ",".join(tools)]
        super().__init__(stack, f"claude-{home}", command, environment, files)
        self.result = self.parsed(self.stdout)

    def failed_with(self, status):
        expect((self.code, self.result["is_error"], self.result["api_error_status"]), (1, True, status))

    def said(self, text):
        expect((self.code, self.result["is_error"], self.result["result"]), (0, False, text))

    def seen(self):
        usage = self.result["usage"]
        prompt = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        return Seen(self.result["num_turns"], sum(usage[part] for part in prompt), usage["output_tokens"])


def tool_round_trip(stack):
    """The upstream asks for a command, Claude Code runs it and hands back what it printed."""
    watch = Watch(stack)
    prompt = '[[tool Bash {"command":"echo tollgate-$((40+2))","description":"Say it"}]]'
    claude = Claude(stack, "tools", prompt, tools=["Bash"])
    claude.said("tool said: tollgate-42")
    expect(claude.result["num_turns"], 2)
    for turn in watch.received(2):
        headers, body = turn["headers"], turn["json"]
        expect((turn["path"], turn["query"]), ("/v1/messages", "beta=true"))
        expect_in(f"claude-cli/{VERSION}", headers["user-agent"])
        expect(headers["x-app"], "cli")
        expect(headers["anthropic-version"], "2023-06-01")
        expect_in("claude-code-20250219", headers["anthropic-beta"].split(","))
        expect(headers["x-claude-code-session-id"], claude.result["session_id"])
        expect((body["model"], body["stream"]), (UPSTREAM_MODEL, True))
        expect((headers["x-api-key"], "authorization" in headers), ("upstream-anthropic", False))
    return claude.seen()


def parallel_tools(stack):
    """Two files are read in one turn; their results go back together."""
    home = stack.folder / "claude-parallel"
    calls = " ".join(f'Read {{"file_path":"{home / name}"}}' for name in ("one.txt", "two.txt"))
    watch = Watch(stack)
    files = {"one.txt": "the first toll", "two.txt": "the second toll"}
    claude = Claude(stack, "parallel", f"[[tools {calls}]]", tools=["Read"], files=files)
    expect((claude.code, claude.result["is_error"]), (0, False))
    for text in files.values():
        expect_in(text, claude.result["result"])
    # Each call counts as a turn of its own here, which is one answer less than turns.
    return claude.seen()._replace(answers=len(watch.received(2)))


def key_in_the_other_header(stack):
    """`ANTHROPIC_API_KEY` travels as `x-api-key`."""
    claude = Claude(stack, "plain", "[[say the toll is paid]]", {"ANTHROPIC_API_KEY": stack.keys[NAME]})
    claude.said("the toll is paid")
    return claude.seen()


def converted(stack, wire):
    """A conversation with thoughts and tools, by a model that is served on another wire."""
    home = f"on-{wire}"
    watch = Watch(stack)
    first = Claude(stack, home, "[[think about the toll]]", model=only(wire))
    first.said("Done thinking.")
    path = stack.folder / f"claude-{home}" / "note.txt"
    calls = f'Bash {{"command":"echo tollgate-$((40+2))","description":"Say it"}} Read {{"file_path":"{path}"}}'
    files = {"note.txt": "the toll is seven"}
    second = Claude(
        stack, home, f"[[tools {calls}]]", model=only(wire), tools=["Bash", "Read"], files=files, goes_on=True
    )
    expect((second.code, second.result["is_error"]), (0, False))
    for text in ("tollgate-42", *files.values()):
        expect_in(text, second.result["result"])
    expect(second.result["session_id"], first.result["session_id"])
    requests = watch.converted(3, wire)
    expect_in("Done thinking.", requests[1]["body"])
    return [first.seen(), second.seen()._replace(answers=2)]


def bad_key(stack):
    watch = Watch(stack)
    Claude(stack, "stranger", "hello", {"ANTHROPIC_AUTH_TOKEN": BAD_KEY}).failed_with(401)
    watch.received(0)


def unknown_model(stack):
    watch = Watch(stack)
    Claude(stack, "lost", "hello", model=UNKNOWN).failed_with(404)
    watch.received(0)


def rate_limit(stack):
    """It comes back once, when it is told to, and then shows what the upstream said."""
    watch = Watch(stack)
    claude = Claude(stack, "limited", "[[error rate_limited]]", model=limited(NAME), retries=1)
    claude.failed_with(429)
    watch.repeated_when_told()
    expect_in("429", claude.result["result"])


SCENARIOS = [
    tool_round_trip,
    parallel_tools,
    key_in_the_other_header,
    on("chat", converted),
    on("responses", converted),
    on("gemini", converted),
    bad_key,
    unknown_model,
    rate_limit,
]
