"""The Anthropic SDK: Messages, counting, lists and errors."""

import unittest

import anthropic

from common import *

TOOL = {"name": "get_weather", "description": "Weather", "input_schema": SCHEMA}


def client(key=KEY, max_retries=0):
    return anthropic.Anthropic(api_key=key, base_url=URL, max_retries=max_retries)


def ask(caller, text, model=MODEL, **more):
    messages = text if isinstance(text, list) else [{"role": "user", "content": text}]
    return caller.messages.create(model=model, max_tokens=2048, messages=messages, **more)


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


class Messages(unittest.TestCase):
    def note(self, request, usage):
        cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        record(self, request, usage.input_tokens + cached, usage.output_tokens)

    def test_plain(self):
        answer = ask(client(), SAY)
        self.assertEqual((text_of(answer), answer.stop_reason), (SAID, "end_turn"))
        self.note(answer._request_id, answer.usage)

    def test_streaming(self):
        with client().messages.stream(
            model=MODEL, max_tokens=2048, messages=[{"role": "user", "content": SAY}]
        ) as stream:
            pieces = list(stream.text_stream)
            final = stream.get_final_message()
            request = stream.response.headers["request-id"]
        self.assertEqual(("".join(pieces), text_of(final)), (SAID, SAID))
        self.note(request, final.usage)

    def test_thinking(self):
        answer = ask(client(), "[[think about the toll]]", thinking={"type": "enabled", "budget_tokens": 1024})
        thought = next(block for block in answer.content if block.type == "thinking")
        self.assertTrue(thought.thinking and thought.signature)
        self.note(answer._request_id, answer.usage)

    def test_tool_round_trip(self):
        turns = [{"role": "user", "content": CALL}]
        asked = ask(client(), turns, tools=[TOOL])
        self.assertEqual(asked.stop_reason, "tool_use")
        call = next(block for block in asked.content if block.type == "tool_use")
        self.assertEqual((call.name, call.input), ("get_weather", ARGUMENTS))
        result = {"type": "tool_result", "tool_use_id": call.id, "content": RESULT}
        turns += [{"role": "assistant", "content": asked.content}, {"role": "user", "content": [result]}]
        told = ask(client(), turns, tools=[TOOL])
        self.assertEqual(text_of(told), TOLD)
        for answer in (asked, told):
            self.note(answer._request_id, answer.usage)

    def test_token_counting(self):
        counted = client().messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": SAY}])
        self.assertGreater(counted.input_tokens, 0)


class Lists(unittest.TestCase):
    def test_models(self):
        self.assertIn(MODEL, [model.id for model in client().models.list()])

    def test_one_model(self):
        self.assertEqual(client().models.retrieve(MODEL).id, MODEL)


class Errors(unittest.TestCase):
    def failure(self, expected, kind, model, text, key=KEY):
        with self.assertRaises(expected) as raised:
            ask(client(key), text, model)
        error = raised.exception
        self.assertEqual(error.body["error"]["type"], kind)
        self.assertEqual(error.body["request_id"], error.request_id)
        return error

    def test_bad_key(self):
        error = self.failure(anthropic.AuthenticationError, "authentication_error", MODEL, SAY, BAD_KEY)
        self.assertEqual(error.status_code, 401)
        self.assertNotIn(BAD_KEY, str(error))

    def test_unknown_model(self):
        error = self.failure(anthropic.NotFoundError, "not_found_error", UNKNOWN, SAY)
        self.assertEqual(error.status_code, 404)

    def test_rate_limit(self):
        error = self.failure(anthropic.RateLimitError, "rate_limit_error", LIMITED, RATE_LIMITED)
        self.assertEqual(error.status_code, 429)
        self.assertIn(int(error.response.headers["retry-after"]), range(1, RETRY_AFTER_S + 1))

    def test_overloaded(self):
        error = self.failure(anthropic.OverloadedError, "overloaded_error", overloaded("anthropic"), OVERLOAD)
        self.assertEqual(error.status_code, 529)

    def test_overloaded_before_a_stream_begins(self):
        with self.assertRaises(anthropic.OverloadedError):
            ask(client(), OVERLOAD, overloaded("anthropic"), stream=True)

    def test_own_retries_ride_out_a_limit(self):
        with self.assertRaises(anthropic.RateLimitError):
            ask(client(), RATE_LIMITED, LIMITED)
        self.assertEqual(text_of(ask(client(max_retries=2), SAY, LIMITED)), SAID)
