"""The SDKs' four APIs behind one face, so that one table of scenarios can be put to each of them."""

import base64
import json
from dataclasses import dataclass

import anthropic
import openai
from common import *
from google import genai
from google.genai import errors, types
from openai.lib.streaming.chat import ChatCompletionStreamState

# A picture of one dot.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PNG_TEXT = base64.b64encode(PNG).decode()
MAX_TOKENS = 2048
# Fits below the maximum.
THINKING_TOKENS = 1024


@dataclass
class Answer:
    """What an SDK made of an answer. `calls` are names and arguments; `turn` is what goes back into the conversation."""

    text: str
    thought: str
    calls: list
    prompt: int
    output: int
    request: str
    turn: list
    pieces: int = 0


@dataclass
class Expected:
    """How an SDK raises an error: its class, its status, and the vendor's words for it that the SDK has read."""

    error: type
    status: int
    words: tuple


class Failed(Exception):
    """A stream that said itself that it failed, which this SDK does not raise."""


class Chat:
    """`ask` takes the conversation so far as a list, `user` and `results` make entries of it."""

    RATE_LIMITED = Expected(openai.RateLimitError, 429, ("rate_limit_exceeded",))
    OVERLOADED = Expected(openai.InternalServerError, 503, ("server_error",))
    BAD_REQUEST = Expected(openai.BadRequestError, 400, ("invalid_request_error",))
    TOO_LONG = Expected(openai.BadRequestError, 400, ("context_length_exceeded",))
    # Raised while a stream is read.
    BROKEN = openai.APIError

    def __init__(self):
        self.client = openai.OpenAI(api_key=KEY, base_url=f"{URL}/v1", max_retries=0)

    def user(self, text, image=False):
        parts = [{"type": "text", "text": text}]
        if image:
            parts.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG_TEXT}"}})
        return [{"role": "user", "content": parts}]

    def results(self, answer, texts):
        calls = answer.turn[0]["tool_calls"]
        return [{"role": "tool", "tool_call_id": call["id"], "content": text} for call, text in zip(calls, texts)]

    def ask(self, model, turns, stream=False, tools=False, schema=None, think=False):
        more = {"max_completion_tokens": MAX_TOKENS}
        if tools:
            function = {"name": "get_weather", "description": "Weather", "parameters": SCHEMA}
            more["tools"] = [{"type": "function", "function": function}]
        if schema:
            named = {"name": "place", "schema": schema, "strict": True}
            more["response_format"] = {"type": "json_schema", "json_schema": named}
        if think:
            more["reasoning_effort"] = "medium"
        create = self.client.chat.completions.with_raw_response.create
        if not stream:
            response = create(model=model, messages=turns, **more)
            return self.answer(response.parse(), response.headers)
        response = create(model=model, messages=turns, stream=True, stream_options={"include_usage": True}, **more)
        state, pieces, thought = ChatCompletionStreamState(), 0, ""
        for chunk in response.parse():
            state.handle_chunk(chunk)
            for choice in chunk.choices:
                pieces += bool(choice.delta.content)
                thought += (choice.delta.model_extra or {}).get("reasoning_content") or ""
        answer = self.answer(state.get_final_completion(), response.headers)
        # The SDK's own accumulation knows no reasoning.
        answer.pieces, answer.thought = pieces, thought
        return answer

    def answer(self, completion, headers):
        message = completion.choices[0].message
        calls = message.tool_calls or []
        turn = message.model_dump(exclude_none=True, exclude={"parsed"})
        for call in turn.get("tool_calls", []):
            call["function"].pop("parsed_arguments", None)
        return Answer(
            text=message.content or "",
            thought=(message.model_extra or {}).get("reasoning_content") or "",
            calls=[(call.function.name, json.loads(call.function.arguments)) for call in calls],
            prompt=completion.usage.prompt_tokens,
            output=completion.usage.completion_tokens,
            request=headers["x-request-id"],
            turn=[turn],
        )

    def words(self, error):
        return (error.code, error.type)


class Responses(Chat):
    BROKEN = (openai.APIError, Failed)

    def user(self, text, image=False):
        parts = [{"type": "input_text", "text": text}]
        if image:
            parts.append({"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{PNG_TEXT}"})
        return [{"role": "user", "content": parts}]

    def results(self, answer, texts):
        calls = [item for item in answer.turn if item["type"] == "function_call"]
        return [
            {"type": "function_call_output", "call_id": call["call_id"], "output": text}
            for call, text in zip(calls, texts)
        ]

    def ask(self, model, turns, stream=False, tools=False, schema=None, think=False):
        more = {"max_output_tokens": MAX_TOKENS, "store": False, "include": ["reasoning.encrypted_content"]}
        if tools:
            more["tools"] = [{"type": "function", "name": "get_weather", "description": "Weather", "parameters": SCHEMA}]
        if schema:
            more["text"] = {"format": {"type": "json_schema", "name": "place", "schema": schema, "strict": True}}
        if think:
            more["reasoning"] = {"effort": "medium", "summary": "auto"}
        if not stream:
            response = self.client.responses.with_raw_response.create(model=model, input=turns, **more)
            return self.answer(response.parse(), response.headers)
        with self.client.responses.stream(model=model, input=turns, **more) as events:
            seen = [event.type for event in events]
            if seen[-1] == "response.failed":
                raise Failed
            answer = self.answer(events.get_final_response(), events._response.headers)
        answer.pieces = seen.count("response.output_text.delta")
        return answer

    def answer(self, response, headers):
        calls = [item for item in response.output if item.type == "function_call"]
        thoughts = [part.text for item in response.output if item.type == "reasoning" for part in item.summary]
        return Answer(
            text=response.output_text,
            thought="".join(thoughts),
            calls=[(call.name, json.loads(call.arguments)) for call in calls],
            prompt=response.usage.input_tokens,
            output=response.usage.output_tokens,
            request=headers["x-request-id"],
            turn=[item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in response.output],
        )


class Anthropic:
    RATE_LIMITED = Expected(anthropic.RateLimitError, 429, ("rate_limit_error",))
    OVERLOADED = Expected(anthropic.OverloadedError, 529, ("overloaded_error",))
    BAD_REQUEST = Expected(anthropic.BadRequestError, 400, ("invalid_request_error",))
    TOO_LONG = Expected(anthropic.BadRequestError, 400, ("invalid_request_error", "prompt is too long"))
    BROKEN = anthropic.APIStatusError

    def __init__(self):
        self.client = anthropic.Anthropic(api_key=KEY, base_url=URL, max_retries=0)

    def user(self, text, image=False):
        blocks = [{"type": "text", "text": text}]
        if image:
            source = {"type": "base64", "media_type": "image/png", "data": PNG_TEXT}
            blocks.append({"type": "image", "source": source})
        return [{"role": "user", "content": blocks}]

    def results(self, answer, texts):
        calls = [block for block in answer.turn[0]["content"] if block["type"] == "tool_use"]
        blocks = [
            {"type": "tool_result", "tool_use_id": call["id"], "content": text} for call, text in zip(calls, texts)
        ]
        return [{"role": "user", "content": blocks}]

    def ask(self, model, turns, stream=False, tools=False, schema=None, think=False):
        more = {"model": model, "max_tokens": MAX_TOKENS, "messages": turns}
        if tools:
            more["tools"] = [{"name": "get_weather", "description": "Weather", "input_schema": SCHEMA}]
        if schema:
            more["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        if think:
            more["thinking"] = {"type": "enabled", "budget_tokens": THINKING_TOKENS}
        if not stream:
            response = self.client.messages.with_raw_response.create(**more)
            return self.answer(response.parse(), response.headers)
        with self.client.messages.stream(**more) as events:
            pieces = len(list(events.text_stream))
            answer = self.answer(events.get_final_message(), events.response.headers)
        answer.pieces = pieces
        return answer

    def answer(self, message, headers):
        of = lambda kind: [block for block in message.content if block.type == kind]
        usage = message.usage
        cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        return Answer(
            text="".join(block.text for block in of("text")),
            thought="".join(block.thinking for block in of("thinking")),
            calls=[(block.name, block.input) for block in of("tool_use")],
            prompt=usage.input_tokens + cached,
            output=usage.output_tokens,
            request=headers["request-id"],
            turn=[{"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]}],
        )

    def words(self, error):
        return (error.body["error"]["type"], error.body["error"]["message"])


class Gemini:
    RATE_LIMITED = Expected(errors.ClientError, 429, ("RESOURCE_EXHAUSTED",))
    OVERLOADED = Expected(errors.ServerError, 503, ("UNAVAILABLE",))
    BAD_REQUEST = Expected(errors.ClientError, 400, ("INVALID_ARGUMENT",))
    TOO_LONG = Expected(errors.ClientError, 400, ("INVALID_ARGUMENT", "exceeds the maximum"))
    BROKEN = errors.APIError

    def __init__(self):
        self.client = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=URL))

    def user(self, text, image=False):
        parts = [types.Part(text=text)]
        if image:
            parts.append(types.Part.from_bytes(data=PNG, mime_type="image/png"))
        return [types.Content(role="user", parts=parts)]

    def results(self, answer, texts):
        calls = [part.function_call for part in answer.turn[0].parts if part.function_call]
        parts = [
            types.Part(
                function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": text})
            )
            for call, text in zip(calls, texts)
        ]
        return [types.Content(role="user", parts=parts)]

    def ask(self, model, turns, stream=False, tools=False, schema=None, think=False):
        config = types.GenerateContentConfig(
            max_output_tokens=MAX_TOKENS, automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
        )
        if tools:
            function = types.FunctionDeclaration(
                name="get_weather", description="Weather", parameters_json_schema=SCHEMA
            )
            config.tools = [types.Tool(function_declarations=[function])]
        if schema:
            config.response_mime_type = "application/json"
            config.response_json_schema = schema
        if think:
            config.thinking_config = types.ThinkingConfig(include_thoughts=True, thinking_budget=THINKING_TOKENS)
        if not stream:
            return self.answer([self.client.models.generate_content(model=model, contents=turns, config=config)])
        chunks = list(self.client.models.generate_content_stream(model=model, contents=turns, config=config))
        return self.answer(chunks)

    def answer(self, chunks):
        parts = [part for chunk in chunks for part in (chunk.candidates[0].content.parts or [])]
        said = [part.text for part in parts if part.text and not part.thought]
        calls = [part.function_call for part in parts if part.function_call]
        usage = chunks[-1].usage_metadata
        assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP, chunks[-1]
        return Answer(
            text="".join(said),
            thought="".join(part.text for part in parts if part.text and part.thought),
            calls=[(call.name, call.args) for call in calls],
            prompt=usage.prompt_token_count,
            output=(usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
            request=chunks[-1].sdk_http_response.headers["x-request-id"],
            turn=[types.Content(role="model", parts=parts)],
            pieces=len(said),
        )

    def words(self, error):
        return (error.status, error.message)


CALLERS = {"chat": Chat, "responses": Responses, "anthropic": Anthropic, "gemini": Gemini}
