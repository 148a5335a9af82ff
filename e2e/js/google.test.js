// The Google Gen AI SDK: generateContent, streams, counting, lists and errors.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, GoogleGenAI } from "@google/genai";
import * as e2e from "./common.js";

const { MODEL, SAY, SAID, CALL } = e2e;
const FUNCTION = { name: "get_weather", description: "Weather", parametersJsonSchema: e2e.SCHEMA };
const config = { tools: [{ functionDeclarations: [FUNCTION] }] };

const client = (apiKey = e2e.KEY) => new GoogleGenAI({ apiKey, httpOptions: { baseUrl: e2e.URL } });
const user = (text) => ({ role: "user", parts: [{ text }] });

function note(t, answer) {
  const usage = answer.usageMetadata;
  const output = usage.candidatesTokenCount + (usage.thoughtsTokenCount ?? 0);
  e2e.record(t, answer.sdkHttpResponse.headers["x-request-id"], usage.promptTokenCount, output);
}

test("plain", async (t) => {
  const answer = await client().models.generateContent({ model: MODEL, contents: SAY });
  assert.deepEqual([answer.text, answer.candidates[0].finishReason], [SAID, "STOP"]);
  note(t, answer);
});

test("streaming", async (t) => {
  const chunks = await e2e.collect(await client().models.generateContentStream({ model: MODEL, contents: SAY }));
  assert.equal(chunks.map((chunk) => chunk.text ?? "").join(""), SAID);
  assert.equal(chunks.at(-1).candidates[0].finishReason, "STOP");
  note(t, chunks.at(-1));
});

test("tool round trip", async (t) => {
  const contents = [user(CALL)];
  const asked = await client().models.generateContent({ model: MODEL, contents, config });
  const call = asked.functionCalls[0];
  assert.deepEqual([call.name, call.args], ["get_weather", e2e.ARGUMENTS]);
  const functionResponse = { id: call.id, name: call.name, response: { result: e2e.RESULT } };
  contents.push(asked.candidates[0].content, { role: "user", parts: [{ functionResponse }] });
  const told = await client().models.generateContent({ model: MODEL, contents, config });
  assert.ok(told.text.includes(e2e.RESULT), told.text);
  for (const answer of [asked, told]) note(t, answer);
});

test("token counting", async () => {
  assert.ok((await client().models.countTokens({ model: MODEL, contents: SAY })).totalTokens > 0);
});

test("models", async () => {
  const models = await e2e.collect(await client().models.list());
  assert.ok(models.some((model) => model.name === `models/${MODEL}`));
  assert.equal((await client().models.get({ model: MODEL })).name, `models/${MODEL}`);
});

for (const [name, code, status, model, text, key] of [
  ["bad key", 400, "INVALID_ARGUMENT", MODEL, SAY, e2e.BAD_KEY],
  ["unknown model", 404, "NOT_FOUND", e2e.UNKNOWN, SAY, e2e.KEY],
  ["rate limit", 429, "RESOURCE_EXHAUSTED", e2e.LIMITED, e2e.RATE_LIMITED, e2e.KEY],
  ["overloaded", 503, "UNAVAILABLE", e2e.overloaded("gemini"), e2e.OVERLOAD, e2e.KEY],
]) {
  test(name, async () => {
    const error = await e2e.failure(ApiError, () => client(key).models.generateContent({ model, contents: text }));
    // This SDK keeps the status, and the body as its message.
    const body = JSON.parse(error.message).error;
    assert.deepEqual([error.status, body.code, body.status], [code, code, status]);
    if (code === 429) {
      const retry = body.details.find((detail) => detail.retryDelay);
      e2e.assertRetryAfter(Number.parseInt(retry.retryDelay, 10));
    }
  });
}
