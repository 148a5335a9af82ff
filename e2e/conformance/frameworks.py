"""LangChain's adapters and the Vercel AI SDK: suites of their own, as what is built on the SDKs."""

import clients
import suite
from harness import Seen

HERE = clients.E2E / "conformance"
ALL_WIRES = {"CLAUDE", "GEMINI", "OPENAI", "OPENAI_CLI"}


class Framework:
    """A client of the run whose scenarios are the tests of its suite."""

    FORMATS = ALL_WIRES

    def __init__(self, name):
        self.NAME = name
        self.SCENARIOS = [self.suite]

    def suite(self, stack):
        running = suite.Suite(stack, self.NAME, self.command, **self.environment)
        output = running.output()
        print(f"── {self.NAME}\n{output}")
        if running.child.returncode or not suite.tally(output):
            raise AssertionError(f"{suite.tally(output)} tests passed")
        answers = running.seen()
        return Seen(len(answers), sum(seen["input"] for seen in answers), sum(seen["output"] for seen in answers))


class LangChain(Framework):
    # It would report each call to a service of its makers.
    environment = {"LANGSMITH_TRACING": "false", "PYTHONPATH": str(clients.E2E / "python")}

    def install(self):
        self.command = suite.python(clients.python(HERE / "langchain"), HERE / "langchain")


class AiSdk(Framework):
    environment = {}

    def install(self):
        clients.javascript(HERE / "ai-sdk")
        self.command = suite.javascript(HERE / "ai-sdk")


langchain = LangChain("langchain")
ai_sdk = AiSdk("ai-sdk")
