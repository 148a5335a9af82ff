"""The OpenAI SDK: Chat Completions, Responses, lists and errors."""

import asyncio
import json
import unittest

import openai

from common import *

CHAT_TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": SCHEMA}}
RESPONSES_TOOL = {"type": "function", "name": "get_weather", "description": "Weather", "parameters": SCHEMA}


def client(key=KEY, max_retries=0):
    return openai.OpenAI(api_key=key, base_url=f"{URL}/v1", max_retries=max_retries)


def user(text):
    return [{"role": "user", "content": text}]


class Chat(unittest.TestCase):
    def note(self, request, usage):
        record(self, request, usage.prompt_tokens, usage.completion_tokens)

    def test_plain(self):
        answer = client().chat.completions.create(model=MODEL, messages=user(SAY))
        self.assertEqual(answer.choices[0].message.content, SAID)
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.note(answer._request_id, answer.usage)

    def test_streaming_with_usage(self):
        with client().chat.completions.with_streaming_response.create(
            model=MODEL, messages=user(SAY), stream=True, stream_options={"include_usage": True}
        ) as response:
            chunks = list(response.parse())
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        self.assertEqual(text, SAID)
        self.assertEqual(chunks[-1].choices, [])
        self.note(response.headers["x-request-id"], chunks[-1].usage)

    def test_streaming_without_asking_for_usage(self):
        chunks = list(client().chat.completions.create(model=MODEL, messages=user(SAY), stream=True))
        self.assertEqual("".join(chunk.choices[0].delta.content or "" for chunk in chunks), SAID)
        self.assertEqual([chunk.usage for chunk in chunks if chunk.usage], [])

    def test_tool_round_trip(self):
        messages = user(CALL)
        asked = client().chat.completions.create(model=MODEL, messages=messages, tools=[CHAT_TOOL])
        self.assertEqual(asked.choices[0].finish_reason, "tool_calls")
        call = asked.choices[0].message.tool_calls[0]
        self.assertEqual((call.function.name, json.loads(call.function.arguments)), ("get_weather", ARGUMENTS))
        messages += [asked.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
        told = client().chat.completions.create(model=MODEL, messages=messages, tools=[CHAT_TOOL])
        self.assertEqual(told.choices[0].message.content, TOLD)
        for answer in (asked, told):
            self.note(answer._request_id, answer.usage)

    def test_streamed_tool_call(self):
        with client().chat.completions.stream(model=MODEL, messages=user(CALL), tools=[CHAT_TOOL]) as stream:
            call = stream.get_final_completion().choices[0].message.tool_calls[0]
        self.assertEqual((call.function.name, json.loads(call.function.arguments)), ("get_weather", ARGUMENTS))

    def test_many_at_once(self):
        async def ask():
            async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{URL}/v1", max_retries=0) as caller:
                says = [f"[[say number {n}]]" for n in range(16)]
                asked = [caller.chat.completions.create(model=MODEL, messages=user(text)) for text in says]
                return await asyncio.gather(*asked)

        answers = asyncio.run(ask())
        self.assertEqual([a.choices[0].message.content for a in answers], [f"number {n}" for n in range(16)])
        for answer in answers:
            self.note(answer._request_id, answer.usage)


class Responses(unittest.TestCase):
    def note(self, request, usage):
        record(self, request, usage.input_tokens, usage.output_tokens)

    def test_plain(self):
        answer = client().responses.create(model=MODEL, input=SAY)
        self.assertEqual((answer.output_text, answer.status), (SAID, "completed"))
        self.note(answer._request_id, answer.usage)

    def test_streaming(self):
        with client().responses.with_streaming_response.create(model=MODEL, input=SAY, stream=True) as response:
            events = list(response.parse())
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        self.assertEqual(text, SAID)
        self.assertEqual(events[-1].type, "response.completed")
        self.assertEqual(events[-1].response.output_text, SAID)
        self.note(response.headers["x-request-id"], events[-1].response.usage)

    def test_tool_round_trip(self):
        turns = user(CALL)
        asked = client().responses.create(model=MODEL, input=turns, tools=[RESPONSES_TOOL])
        call = next(item for item in asked.output if item.type == "function_call")
        self.assertEqual((call.name, json.loads(call.arguments)), ("get_weather", ARGUMENTS))
        turns += [*asked.output, {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}]
        told = client().responses.create(model=MODEL, input=turns, tools=[RESPONSES_TOOL])
        self.assertEqual(told.output_text, TOLD)
        for answer in (asked, told):
            self.note(answer._request_id, answer.usage)

    def test_kept(self):
        caller = client()
        made = caller.responses.create(model=MODEL, input=SAY)
        self.note(made._request_id, made.usage)
        self.assertEqual(caller.responses.retrieve(made.id).id, made.id)
        self.assertEqual(caller.responses.input_items.list(made.id).data, [])
        with self.assertRaises(openai.BadRequestError):
            caller.responses.cancel(made.id)
        caller.responses.delete(made.id)
        with self.assertRaises(openai.NotFoundError):
            caller.responses.retrieve("resp_of_nobody")

    def test_token_counting(self):
        counted = client().responses.input_tokens.count(model=MODEL, input=SAY)
        self.assertGreater(counted.input_tokens, 0)


class Lists(unittest.TestCase):
    def test_models(self):
        self.assertIn(MODEL, [model.id for model in client().models.list()])

    def test_one_model(self):
        self.assertEqual(client().models.retrieve(MODEL).id, MODEL)


class Errors(unittest.TestCase):
    """The same on both wires."""

    WIRES = {
        "chat": lambda caller, model, text: caller.chat.completions.create(model=model, messages=user(text)),
        "chat stream": lambda caller, model, text: list(
            caller.chat.completions.create(model=model, messages=user(text), stream=True)
        ),
        "responses": lambda caller, model, text: caller.responses.create(model=model, input=text),
    }

    def failures(self, expected, model, text, key=KEY):
        """The error on each wire; the model may be that of a wire."""
        for wire, call in self.WIRES.items():
            with self.subTest(wire), self.assertRaises(expected) as raised:
                call(client(key), model if isinstance(model, str) else model(wire.split()[0]), text)
            yield raised.exception

    def test_bad_key(self):
        for error in self.failures(openai.AuthenticationError, MODEL, SAY, BAD_KEY):
            self.assertEqual((error.status_code, error.code), (401, "invalid_api_key"))
            self.assertNotIn(BAD_KEY, str(error))

    def test_unknown_model(self):
        for error in self.failures(openai.NotFoundError, UNKNOWN, SAY):
            self.assertEqual((error.status_code, error.code), (404, "model_not_found"))

    def test_rate_limit(self):
        for error in self.failures(openai.RateLimitError, LIMITED, RATE_LIMITED):
            self.assertEqual(error.status_code, 429)
            self.assertIn(int(error.response.headers["retry-after"]), range(1, RETRY_AFTER_S + 1))
            self.assertTrue(error.request_id)

    def test_overloaded(self):
        for error in self.failures(openai.InternalServerError, overloaded, OVERLOAD):
            self.assertEqual(error.status_code, 503)

    def test_own_retries_ride_out_a_limit(self):
        with self.assertRaises(openai.RateLimitError):
            self.WIRES["chat"](client(), LIMITED, RATE_LIMITED)
        answer = self.WIRES["chat"](client(max_retries=2), LIMITED, SAY)
        self.assertEqual(answer.choices[0].message.content, SAID)
