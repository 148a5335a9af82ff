"""The Google Gen AI SDK: generateContent, streams, counting, lists and errors."""

import unittest

from google import genai
from google.genai import errors, types

from common import *

TOOLS = [
    types.Tool(
        function_declarations=[
            types.FunctionDeclaration(name="get_weather", description="Weather", parameters_json_schema=SCHEMA)
        ]
    )
]
WITH_TOOLS = types.GenerateContentConfig(
    tools=TOOLS, automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
)


def client(key=KEY):
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=URL))


class Case(unittest.TestCase):
    """This SDK closes its connections with the client, so each test keeps one."""

    def setUp(self):
        self.client = client()


def user(text):
    return types.Content(role="user", parts=[types.Part(text=text)])


class Generate(Case):
    def note(self, answer):
        usage = answer.usage_metadata
        output = usage.candidates_token_count + (usage.thoughts_token_count or 0)
        record(self, answer.sdk_http_response.headers["x-request-id"], usage.prompt_token_count, output)

    def test_plain(self):
        answer = self.client.models.generate_content(model=MODEL, contents=SAY)
        self.assertEqual(answer.text, SAID)
        self.assertEqual(answer.candidates[0].finish_reason, types.FinishReason.STOP)
        self.note(answer)

    def test_streaming(self):
        chunks = list(self.client.models.generate_content_stream(model=MODEL, contents=SAY))
        self.assertEqual("".join(chunk.text or "" for chunk in chunks), SAID)
        self.assertEqual(chunks[-1].candidates[0].finish_reason, types.FinishReason.STOP)
        self.note(chunks[-1])

    def test_tool_round_trip(self):
        asked = self.client.models.generate_content(model=MODEL, contents=[user(CALL)], config=WITH_TOOLS)
        call = asked.function_calls[0]
        self.assertEqual((call.name, call.args), ("get_weather", ARGUMENTS))
        result = types.FunctionResponse(id=call.id, name=call.name, response={"result": RESULT})
        turns = [
            user(CALL),
            asked.candidates[0].content,
            types.Content(role="user", parts=[types.Part(function_response=result)]),
        ]
        told = self.client.models.generate_content(model=MODEL, contents=turns, config=WITH_TOOLS)
        self.assertIn(RESULT, told.text)
        for answer in (asked, told):
            self.note(answer)

    def test_token_counting(self):
        self.assertGreater(self.client.models.count_tokens(model=MODEL, contents=SAY).total_tokens, 0)


class Lists(Case):
    def test_models(self):
        self.assertIn(f"models/{MODEL}", [model.name for model in self.client.models.list()])

    def test_one_model(self):
        self.assertEqual(self.client.models.get(model=MODEL).name, f"models/{MODEL}")


class Errors(unittest.TestCase):
    def failure(self, expected, code, status, model, text, key=KEY):
        caller = client(key)
        with self.assertRaises(expected) as raised:
            list(caller.models.generate_content_stream(model=model, contents=text))
        self.assertEqual((raised.exception.code, raised.exception.status), (code, status))
        with self.assertRaises(expected) as raised:
            caller.models.generate_content(model=model, contents=text)
        self.assertEqual((raised.exception.code, raised.exception.status), (code, status))
        return raised.exception

    def test_bad_key(self):
        error = self.failure(errors.ClientError, 400, "INVALID_ARGUMENT", MODEL, SAY, BAD_KEY)
        reasons = [detail.get("reason") for detail in error.details["error"]["details"]]
        self.assertIn("API_KEY_INVALID", reasons)

    def test_unknown_model(self):
        self.failure(errors.ClientError, 404, "NOT_FOUND", UNKNOWN, SAY)

    def test_rate_limit(self):
        error = self.failure(errors.ClientError, 429, "RESOURCE_EXHAUSTED", LIMITED, RATE_LIMITED)
        self.assertIn(int(error.response.headers["retry-after"]), range(1, RETRY_AFTER_S + 1))
        delays = [detail["retryDelay"] for detail in error.details["error"]["details"] if "retryDelay" in detail]
        self.assertTrue(delays and delays[0].endswith("s"), error.details)

    def test_overloaded(self):
        self.failure(errors.ServerError, 503, "UNAVAILABLE", overloaded("gemini"), OVERLOAD)
