"""LangChain's adapters of the three vendors, four wires: the same promises for each."""

import unittest

import anthropic
import openai
from common import *
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_google_genai.chat_models import ChatGoogleGenerativeAIError
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel


class Place(BaseModel):
    """Where."""

    city: str


@tool
def get_weather(city: str) -> str:
    """Weather."""
    return f"rain in {city}"


class Promises:
    """What holds on every wire; a wire says how its model is made and what its errors are."""

    bad_key = unknown_model = rate_limit = None

    def make(self, model=MODEL, key=KEY):
        raise NotImplementedError

    def note(self, answer):
        record(self, None, answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"])

    def test_plain(self):
        answer = self.make().invoke(SAY)
        self.assertEqual(answer.text, SAID)
        self.note(answer)

    def test_streaming(self):
        chunks = list(self.make().stream(SAY))
        self.assertGreater(len(chunks), 2)
        whole = chunks[0]
        for chunk in chunks[1:]:
            whole += chunk
        self.assertEqual(whole.text, SAID)
        self.note(whole)

    def test_tool_round_trip(self):
        model = self.make().bind_tools([get_weather])
        turns = [HumanMessage(CALL)]
        asked = model.invoke(turns)
        self.assertEqual([(call["name"], call["args"]) for call in asked.tool_calls], [("get_weather", ARGUMENTS)])
        told = model.invoke([*turns, asked, get_weather.invoke(asked.tool_calls[0])])
        self.assertIn(RESULT, told.text)
        for answer in (asked, told):
            self.note(answer)

    def test_streamed_parallel_tools(self):
        model = self.make().bind_tools([get_weather])
        turns = [HumanMessage('[[tools get_weather {"city":"Oslo"} get_weather {"city":"Bergen"}]]')]
        asked = None
        for chunk in model.stream(turns):
            asked = chunk if asked is None else asked + chunk
        self.assertEqual([call["args"]["city"] for call in asked.tool_calls], ["Oslo", "Bergen"])
        results = [get_weather.invoke(call) for call in asked.tool_calls]
        self.assertTrue(all(isinstance(result, ToolMessage) for result in results))
        told = model.invoke([*turns, asked, *results])
        self.assertIn("rain in Oslo", told.text)
        self.assertIn("rain in Bergen", told.text)
        for answer in (asked, told):
            self.note(answer)

    def test_structured_output(self):
        model = self.make().with_structured_output(Place, method="json_schema", include_raw=True)
        answer = model.invoke('[[say {"city":"Oslo"}]]')
        self.assertEqual(answer["parsed"], Place(city="Oslo"))
        self.note(answer["raw"])

    def failure(self, expected, text, model=MODEL, key=KEY):
        with self.assertRaises(expected) as raised:
            self.make(model, key).invoke(text)
        return raised.exception

    def test_bad_key(self):
        self.assertNotIn(BAD_KEY, str(self.failure(self.bad_key, SAY, key=BAD_KEY)))

    def test_unknown_model(self):
        self.assertIn(UNKNOWN, str(self.failure(self.unknown_model, SAY, UNKNOWN)))

    def test_rate_limit(self):
        self.failure(self.rate_limit, RATE_LIMITED, LIMITED)


class Chat(Promises, unittest.TestCase):
    bad_key = openai.AuthenticationError
    unknown_model = openai.NotFoundError
    rate_limit = openai.RateLimitError
    is_responses = False

    def make(self, model=MODEL, key=KEY):
        return ChatOpenAI(
            model=model,
            api_key=key,
            base_url=f"{URL}/v1",
            max_retries=0,
            stream_usage=True,
            use_responses_api=self.is_responses,
        )


class Responses(Chat):
    is_responses = True


class Anthropic(Promises, unittest.TestCase):
    bad_key = anthropic.AuthenticationError
    unknown_model = anthropic.NotFoundError
    rate_limit = anthropic.RateLimitError

    def make(self, model=MODEL, key=KEY):
        return ChatAnthropic(model=model, api_key=key, base_url=URL, max_retries=0, max_tokens=2048)


class Gemini(Promises, unittest.TestCase):
    bad_key = unknown_model = rate_limit = ChatGoogleGenerativeAIError

    def make(self, model=MODEL, key=KEY):
        return ChatGoogleGenerativeAI(model=model, google_api_key=key, base_url=URL, max_retries=1)


class Embeddings(unittest.TestCase):
    def make(self, model=MODEL):
        # Cutting texts by tokens would fetch a vocabulary.
        plain = {"check_embedding_ctx_length": False, "max_retries": 0}
        return OpenAIEmbeddings(model=model, api_key=KEY, base_url=f"{URL}/v1", **plain)

    def test_embeddings(self):
        self.assertEqual([set(numbers) for numbers in self.make().embed_documents(["a", "b"])], [{0.125}, {0.125}])
        # The adapter keeps the usage to itself: the scripted upstream counts four tokens for each text.
        book(self, None, 8)

    def test_unknown_model(self):
        with self.assertRaises(openai.NotFoundError):
            self.make(UNKNOWN).embed_documents(["a"])
