"""Every SDK against an upstream of every wire: one table of scenarios, sixteen pairs, four of them native."""

import base64
import json
import unittest

from callers import CALLERS, MAX_TOKENS, PNG
from common import *

TWO_CALLS = '[[tools get_weather {"city":"Oslo"} get_weather {"city":"Bergen"}]]'
WEATHERS = ["rain in Oslo", "sun in Bergen"]
PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}


class Scenarios:
    """What holds whichever wire serves. `asked` is the caller's wire, `served` the upstream's."""

    asked = served = None

    def setUp(self):
        self.caller = CALLERS[self.asked]()
        self.model = only(self.served)
        self.mark = f"({self.id()})"

    def ask(self, turns, **how):
        answer = self.caller.ask(self.model, turns, **how)
        record(self, answer.request, answer.prompt, answer.output)
        return answer

    def say(self, directive, image=False):
        """A user's turn; the mark finds the request in what the upstream received."""
        return self.caller.user(f"{self.mark} {directive}", image)

    def upstream(self, count=1):
        """The bodies that the upstream received for this test, in its own wire."""
        requests = received(self.mark, count)
        self.assertEqual(len(requests), count)
        for request in requests:
            self.assertIn(PATHS[self.served], request["path"])
            self.assertNotIn(KEY, json.dumps(request))
        return [json.loads(request["body"]) for request in requests]

    def test_plain(self):
        self.assertEqual(self.ask(self.say(SAY)).text, SAID)
        self.assertEqual(maximum(self.served, self.upstream()[0]), MAX_TOKENS)

    def test_streaming(self):
        answer = self.ask(self.say(SAY), stream=True)
        self.assertEqual(answer.text, SAID)
        self.assertGreater(answer.pieces, 1)

    def tool_round_trip(self, stream):
        turns = self.say(CALL)
        asked = self.ask(turns, tools=True, stream=stream)
        self.assertEqual(asked.calls, [("get_weather", ARGUMENTS)])
        turns += asked.turn + self.caller.results(asked, [RESULT])
        told = self.ask(turns, tools=True, stream=stream)
        self.assertIn(RESULT, told.text)

    def test_tool_round_trip(self):
        self.tool_round_trip(stream=False)

    def test_streamed_tool_round_trip(self):
        self.tool_round_trip(stream=True)

    def parallel_tools(self, stream):
        turns = self.say(TWO_CALLS)
        asked = self.ask(turns, tools=True, stream=stream)
        self.assertEqual(asked.calls, [("get_weather", {"city": city}) for city in ("Oslo", "Bergen")])
        turns += asked.turn + self.caller.results(asked, WEATHERS)
        told = self.ask(turns, tools=True, stream=stream)
        # The upstream tells the results in the order in which it received them.
        places = [told.text.find(weather) for weather in WEATHERS]
        self.assertTrue(0 <= places[0] < places[1], told.text)

    def test_parallel_tools(self):
        self.parallel_tools(stream=False)

    def test_streamed_parallel_tools(self):
        self.parallel_tools(stream=True)

    def test_image(self):
        self.assertEqual(self.ask(self.say(SAY, image=True)).text, SAID)
        self.assertEqual(image(self.served, self.upstream()[0]), ("image/png", PNG))

    def test_structured_output(self):
        answer = self.ask(self.say('[[say {"city":"Oslo"}]]'), schema=PLACE)
        self.assertEqual(json.loads(answer.text), ARGUMENTS)
        self.assertEqual(schema(self.served, self.upstream()[0])["properties"], PLACE["properties"])

    def reasoning(self, stream):
        turns = self.say("[[think about the toll]]")
        thought = self.ask(turns, think=True, stream=stream)
        self.assertEqual((thought.thought, thought.text), ("about the toll", "Done thinking."))
        turns += thought.turn + self.say(SAY)
        self.assertEqual(self.ask(turns, think=True, stream=stream).text, SAID)
        for body in self.upstream(2):
            self.assertTrue(thinks(self.served, body), body)

    def test_reasoning(self):
        self.reasoning(stream=False)

    def test_streamed_reasoning(self):
        self.reasoning(stream=True)

    def failure(self, expected, directive, model=None, stream=False):
        with self.assertRaises(expected.error) as raised:
            self.caller.ask(model or self.model, self.say(directive), stream=stream)
        error = raised.exception
        self.assertEqual(getattr(error, "status_code", None) or error.code, expected.status)
        said = " ".join(str(word) for word in self.caller.words(error))
        for word in expected.words:
            self.assertIn(word, said)
        return error

    def test_bad_request(self):
        self.failure(self.caller.BAD_REQUEST, "[[error bad_request]]")

    def test_too_long(self):
        self.failure(self.caller.TOO_LONG, "[[error context_too_long]]")

    def test_rate_limit(self):
        limited = provoked("limited", self.asked, self.served)
        error = self.failure(self.caller.RATE_LIMITED, RATE_LIMITED, limited, stream=True)
        self.assertIn(int(error.response.headers["retry-after"]), range(1, RETRY_AFTER_S + 1))

    def test_overloaded(self):
        self.failure(self.caller.OVERLOADED, OVERLOAD, provoked("faulty", self.asked, self.served))

    def test_error_in_a_stream(self):
        for directive in ("[[fail]]", "[[cut]]"):
            with self.subTest(directive), self.assertRaises(self.caller.BROKEN):
                self.caller.ask(provoked("faulty", self.asked, self.served), self.say(directive), stream=True)


PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": "enerateContent",
}


def parts(wire, body):
    """The parts of the last user's turn."""
    if wire == "gemini":
        return body["contents"][-1]["parts"]
    turns = body["input"] if wire == "responses" else body["messages"]
    return [turn["content"] for turn in turns if turn.get("role") == "user"][-1]


def image(wire, body):
    """Type and data of the picture in a request of this wire."""
    for part in parts(wire, body):
        if wire == "anthropic" and part["type"] == "image":
            return part["source"]["media_type"], standard(part["source"]["data"])
        if wire == "gemini" and "inlineData" in part:
            inline = part["inlineData"]
            # Google's own SDK writes this in the other spelling.
            return inline.get("mimeType") or inline["mime_type"], base64.urlsafe_b64decode(inline["data"])
        if "image_url" in part:
            url = part["image_url"]["url"] if wire == "chat" else part["image_url"]
            kind, data = url.removeprefix("data:").split(";base64,")
            return kind, standard(data)
    return None


def standard(data):
    """Only Google knows the other alphabet, in which its Python SDK writes."""
    return base64.b64decode(data, validate=True)


def schema(wire, body):
    match wire:
        case "chat":
            return body["response_format"]["json_schema"]["schema"]
        case "responses":
            return body["text"]["format"]["schema"]
        case "anthropic":
            return body["output_config"]["format"]["schema"]
        case "gemini":
            config = body["generationConfig"]
            return config.get("responseJsonSchema") or config["responseSchema"]


def thinks(wire, body):
    """Whether thoughts are asked for."""
    match wire:
        case "chat":
            return body.get("reasoning_effort") in ("low", "medium", "high")
        case "responses":
            return body.get("reasoning", {}).get("effort") in ("low", "medium", "high")
        case "anthropic":
            return body.get("thinking", {}).get("type") in ("enabled", "adaptive")
        case "gemini":
            config = body["generationConfig"].get("thinkingConfig", {})
            # Google's own SDK writes this in the other spelling.
            return config.get("thinkingBudget", config.get("thinking_budget", 0)) > 0 or "thinkingLevel" in config


def maximum(wire, body):
    match wire:
        case "chat":
            return body["max_completion_tokens"]
        case "responses":
            return body["max_output_tokens"]
        case "anthropic":
            return body["max_tokens"]
        case "gemini":
            return body["generationConfig"]["maxOutputTokens"]


def pairs():
    """A test class for each ordered pair."""
    for asked in CALLERS:
        for served in CALLERS:
            name = f"{asked.title()}To{served.title()}"
            yield name, type(name, (Scenarios, unittest.TestCase), {"asked": asked, "served": served})


globals().update(pairs())
