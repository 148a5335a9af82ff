// The OpenAI SDK: Chat Completions, Responses, lists and errors.

import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import * as e2e from "./common.js";

const { MODEL, SAY, SAID, CALL } = e2e;
const FUNCTION = { name: "get_weather", description: "Weather", parameters: e2e.SCHEMA };
const CHAT_TOOLS = [{ type: "function", function: FUNCTION }];
const RESPONSES_TOOLS = [{ type: "function", ...FUNCTION }];

const client = (apiKey = e2e.KEY, maxRetries = 0) => new OpenAI({ apiKey, baseURL: `${e2e.URL}/v1`, maxRetries });
const user = (content) => [{ role: "user", content }];
const chat = (caller, text, more = {}) =>
  caller.chat.completions.create({ model: MODEL, messages: user(text), ...more });
const noteChat = (t, request, usage) => e2e.record(t, request, usage.prompt_tokens, usage.completion_tokens);
const noteResponse = (t, request, usage) => e2e.record(t, request, usage.input_tokens, usage.output_tokens);

test("chat: plain", async (t) => {
  const answer = await chat(client(), SAY);
  assert.equal(answer.choices[0].message.content, SAID);
  noteChat(t, answer._request_id, answer.usage);
});

test("chat: streaming with usage", async (t) => {
  const { data, response } = await chat(client(), SAY, {
    stream: true,
    stream_options: { include_usage: true },
  }).withResponse();
  const chunks = await e2e.collect(data);
  const text = chunks.flatMap((chunk) => chunk.choices).map((choice) => choice.delta.content ?? "");
  assert.equal(text.join(""), SAID);
  assert.deepEqual(chunks.at(-1).choices, []);
  noteChat(t, response.headers.get("x-request-id"), chunks.at(-1).usage);
});

test("chat: streaming without asking for usage", async () => {
  const chunks = await e2e.collect(await chat(client(), SAY, { stream: true }));
  assert.equal(chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join(""), SAID);
  assert.ok(chunks.every((chunk) => !chunk.usage));
});

test("chat: tool round trip", async (t) => {
  const messages = user(CALL);
  const asked = await chat(client(), "", { messages, tools: CHAT_TOOLS });
  const call = asked.choices[0].message.tool_calls[0];
  assert.equal(asked.choices[0].finish_reason, "tool_calls");
  assert.deepEqual(JSON.parse(call.function.arguments), e2e.ARGUMENTS);
  messages.push(asked.choices[0].message, { role: "tool", tool_call_id: call.id, content: e2e.RESULT });
  const told = await chat(client(), "", { messages, tools: CHAT_TOOLS });
  assert.equal(told.choices[0].message.content, e2e.TOLD);
  for (const answer of [asked, told]) noteChat(t, answer._request_id, answer.usage);
});

test("responses: plain", async (t) => {
  const answer = await client().responses.create({ model: MODEL, input: SAY });
  assert.equal(answer.output_text, SAID);
  noteResponse(t, answer._request_id, answer.usage);
});

test("responses: streaming", async (t) => {
  const { data, response } = await client()
    .responses.create({ model: MODEL, input: SAY, stream: true })
    .withResponse();
  const events = await e2e.collect(data);
  const deltas = events.filter((event) => event.type === "response.output_text.delta");
  assert.equal(deltas.map((event) => event.delta).join(""), SAID);
  assert.equal(events.at(-1).type, "response.completed");
  noteResponse(t, response.headers.get("x-request-id"), events.at(-1).response.usage);
});

test("responses: tool round trip", async (t) => {
  const input = user(CALL);
  const asked = await client().responses.create({ model: MODEL, input, tools: RESPONSES_TOOLS });
  const call = asked.output.find((item) => item.type === "function_call");
  assert.deepEqual(JSON.parse(call.arguments), e2e.ARGUMENTS);
  input.push(...asked.output, { type: "function_call_output", call_id: call.call_id, output: e2e.RESULT });
  const told = await client().responses.create({ model: MODEL, input, tools: RESPONSES_TOOLS });
  assert.equal(told.output_text, e2e.TOLD);
  for (const answer of [asked, told]) noteResponse(t, answer._request_id, answer.usage);
});

test("responses: kept", async (t) => {
  const caller = client();
  const made = await caller.responses.create({ model: MODEL, input: SAY });
  noteResponse(t, made._request_id, made.usage);
  assert.equal((await caller.responses.retrieve(made.id)).id, made.id);
  assert.deepEqual((await caller.responses.inputItems.list(made.id)).data, []);
  await assert.rejects(caller.responses.cancel(made.id), OpenAI.BadRequestError);
  await caller.responses.delete(made.id);
  await assert.rejects(caller.responses.retrieve("resp_of_nobody"), OpenAI.NotFoundError);
});

test("responses: token counting", async () => {
  const counted = await client().responses.inputTokens.count({ model: MODEL, input: SAY });
  assert.ok(counted.input_tokens > 0);
});

test("models", async () => {
  const models = await e2e.collect(client().models.list());
  assert.ok(models.some((model) => model.id === MODEL));
  assert.equal((await client().models.retrieve(MODEL)).id, MODEL);
});

const CALLS = {
  chat: (caller, model, text) => chat(caller, text, { model }),
  responses: (caller, model, text) => caller.responses.create({ model, input: text }),
};

for (const [wire, call] of Object.entries(CALLS)) {
  test(`${wire}: bad key`, async () => {
    const error = await e2e.failure(OpenAI.AuthenticationError, () => call(client(e2e.BAD_KEY), MODEL, SAY));
    assert.deepEqual([error.status, error.code], [401, "invalid_api_key"]);
  });

  test(`${wire}: unknown model`, async () => {
    const error = await e2e.failure(OpenAI.NotFoundError, () => call(client(), e2e.UNKNOWN, SAY));
    assert.deepEqual([error.status, error.code], [404, "model_not_found"]);
  });

  test(`${wire}: rate limit`, async () => {
    const error = await e2e.failure(OpenAI.RateLimitError, () => call(client(), e2e.LIMITED, e2e.RATE_LIMITED));
    e2e.assertRetryAfter(error.headers.get("retry-after"));
    assert.ok(error.requestID);
  });

  test(`${wire}: overloaded`, async () => {
    const error = await e2e.failure(OpenAI.InternalServerError, () => call(client(), e2e.overloaded(wire), e2e.OVERLOAD));
    assert.equal(error.status, 503);
  });
}

test("responses: own retries ride out a limit", async () => {
  await e2e.failure(OpenAI.RateLimitError, () => CALLS.responses(client(), e2e.LIMITED, e2e.RATE_LIMITED));
  const answer = await CALLS.responses(client(e2e.KEY, 2), e2e.LIMITED, SAY);
  assert.equal(answer.output_text, SAID);
});
