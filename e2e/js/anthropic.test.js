// The Anthropic SDK: Messages, counting, lists and errors.

import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import * as e2e from "./common.js";

const { MODEL, SAY, SAID, CALL } = e2e;
const TOOLS = [{ name: "get_weather", description: "Weather", input_schema: e2e.SCHEMA }];

const client = (apiKey = e2e.KEY, maxRetries = 0) => new Anthropic({ apiKey, baseURL: e2e.URL, maxRetries });
const user = (content) => ({ role: "user", content });
const body = (text, more = {}) => ({ model: MODEL, max_tokens: 1024, messages: [user(text)], ...more });
const textOf = (message) => message.content.map((block) => block.text ?? "").join("");

function note(t, request, usage) {
  const cached = (usage.cache_read_input_tokens ?? 0) + (usage.cache_creation_input_tokens ?? 0);
  e2e.record(t, request, usage.input_tokens + cached, usage.output_tokens);
}

test("plain", async (t) => {
  const answer = await client().messages.create(body(SAY));
  assert.deepEqual([textOf(answer), answer.stop_reason], [SAID, "end_turn"]);
  note(t, answer._request_id, answer.usage);
});

test("streaming", async (t) => {
  const stream = client().messages.stream(body(SAY));
  const pieces = [];
  stream.on("text", (piece) => pieces.push(piece));
  const final = await stream.finalMessage();
  assert.deepEqual([pieces.join(""), textOf(final)], [SAID, SAID]);
  note(t, stream.request_id, final.usage);
});

test("tool round trip", async (t) => {
  const messages = [user(CALL)];
  const asked = await client().messages.create(body("", { messages, tools: TOOLS }));
  const call = asked.content.find((block) => block.type === "tool_use");
  assert.deepEqual([asked.stop_reason, call.name, call.input], ["tool_use", "get_weather", e2e.ARGUMENTS]);
  const result = { type: "tool_result", tool_use_id: call.id, content: e2e.RESULT };
  messages.push({ role: "assistant", content: asked.content }, user([result]));
  const told = await client().messages.create(body("", { messages, tools: TOOLS }));
  assert.equal(textOf(told), e2e.TOLD);
  for (const answer of [asked, told]) note(t, answer._request_id, answer.usage);
});

test("streamed tool call", async () => {
  const final = await client().messages.stream(body(CALL, { tools: TOOLS })).finalMessage();
  assert.deepEqual(final.content.find((block) => block.type === "tool_use").input, e2e.ARGUMENTS);
});

test("token counting", async () => {
  const counted = await client().messages.countTokens({ model: MODEL, messages: [user(SAY)] });
  assert.ok(counted.input_tokens > 0);
});

test("models", async () => {
  const models = await e2e.collect(client().models.list());
  assert.ok(models.some((model) => model.id === MODEL));
  assert.equal((await client().models.retrieve(MODEL)).id, MODEL);
});

for (const [name, expected, status, type, model, text, key] of [
  ["bad key", Anthropic.AuthenticationError, 401, "authentication_error", MODEL, SAY, e2e.BAD_KEY],
  ["unknown model", Anthropic.NotFoundError, 404, "not_found_error", e2e.UNKNOWN, SAY, e2e.KEY],
  ["rate limit", Anthropic.RateLimitError, 429, "rate_limit_error", e2e.LIMITED, e2e.RATE_LIMITED, e2e.KEY],
  ["overloaded", Anthropic.OverloadedError, 529, "overloaded_error", e2e.overloaded("anthropic"), e2e.OVERLOAD, e2e.KEY],
]) {
  test(name, async () => {
    const error = await e2e.failure(expected, () => client(key).messages.create(body(text, { model })));
    assert.deepEqual([error.status, error.error.error.type], [status, type]);
    assert.equal(error.error.request_id, error.requestID);
    if (status === 429) e2e.assertRetryAfter(error.headers.get("retry-after"));
  });
}

test("own retries ride out a limit", async () => {
  const limited = (text) => body(text, { model: e2e.LIMITED });
  await e2e.failure(Anthropic.RateLimitError, () => client().messages.create(limited(e2e.RATE_LIMITED)));
  assert.equal(textOf(await client(e2e.KEY, 2).messages.create(limited(SAY))), SAID);
});
