// The Vercel AI SDK's providers of the three vendors, four wires: the same promises for each.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import * as e2e from "../../js/common.js";

const { KEY, MODEL, SAY, SAID, CALL } = e2e;

const openai = (apiKey) => createOpenAI({ apiKey, baseURL: `${e2e.URL}/v1` });
const WIRES = {
  chat: (model, key = KEY) => openai(key).chat(model),
  responses: (model, key = KEY) => openai(key).responses(model),
  anthropic: (model, key = KEY) => createAnthropic({ apiKey: key, baseURL: `${e2e.URL}/v1` })(model),
  gemini: (model, key = KEY) => createGoogleGenerativeAI({ apiKey: key, baseURL: `${e2e.URL}/v1beta` })(model),
};
const BAD_KEY_STATUS = { chat: 401, responses: 401, anthropic: 401, gemini: 400 };

const place = z.object({ city: z.string() });
const get_weather = tool({
  description: "Weather",
  inputSchema: place,
  execute: async ({ city }) => `rain in ${city}`,
});
// A turn that calls tools, a turn that tells what they said.
const withTools = { tools: { get_weather }, stopWhen: stepCountIs(3) };
const once = { maxRetries: 0, maxOutputTokens: 2048 };

const note = (t, answer) => e2e.record(t, null, answer.usage.inputTokens, answer.usage.outputTokens);

for (const [wire, make] of Object.entries(WIRES)) {
  test(`${wire}: plain`, async (t) => {
    const answer = await generateText({ model: make(MODEL), prompt: SAY, ...once });
    assert.deepEqual([answer.text, answer.finishReason], [SAID, "stop"]);
    note(t, answer);
  });

  test(`${wire}: streaming`, async (t) => {
    const answer = streamText({ model: make(MODEL), prompt: SAY, ...once });
    const pieces = await e2e.collect(answer.textStream);
    assert.ok(pieces.length > 1);
    assert.deepEqual([pieces.join(""), await answer.finishReason], [SAID, "stop"]);
    note(t, { usage: await answer.usage });
  });

  test(`${wire}: tool round trip`, async (t) => {
    const answer = await generateText({ model: make(MODEL), prompt: CALL, ...withTools, ...once });
    const [asked, told] = answer.steps;
    assert.deepEqual([asked.finishReason, asked.toolCalls[0].input], ["tool-calls", e2e.ARGUMENTS]);
    assert.ok(told.text.includes(e2e.RESULT), told.text);
    for (const step of answer.steps) note(t, step);
  });

  test(`${wire}: streamed parallel tools`, async (t) => {
    const prompt = '[[tools get_weather {"city":"Oslo"} get_weather {"city":"Bergen"}]]';
    const answer = streamText({ model: make(MODEL), prompt, ...withTools, ...once });
    await e2e.collect(answer.fullStream);
    const [asked, told] = await answer.steps;
    assert.deepEqual(
      asked.toolCalls.map((call) => call.input.city),
      ["Oslo", "Bergen"],
    );
    for (const city of ["Oslo", "Bergen"]) assert.ok(told.text.includes(`rain in ${city}`), told.text);
    for (const step of [asked, told]) note(t, step);
  });

  test(`${wire}: structured output`, async (t) => {
    const answer = await generateText({
      model: make(MODEL),
      prompt: '[[say {"city":"Oslo"}]]',
      output: Output.object({ schema: place }),
      ...once,
      providerOptions: { anthropic: { structuredOutputMode: "outputFormat" } },
    });
    assert.deepEqual(answer.output, e2e.ARGUMENTS);
    note(t, answer);
  });

  test(`${wire}: thoughts`, async (t) => {
    const answer = await generateText({ model: make(MODEL), prompt: "[[think about the toll]]", ...once });
    assert.equal(answer.text, "Done thinking.");
    // The chat provider has no place for them.
    if (wire !== "chat") assert.equal(answer.reasoningText, "about the toll");
    note(t, answer);
  });

  for (const [name, status, model, prompt, key] of [
    ["bad key", BAD_KEY_STATUS[wire], MODEL, SAY, e2e.BAD_KEY],
    ["unknown model", 404, e2e.UNKNOWN, SAY, KEY],
    ["rate limit", 429, e2e.LIMITED, e2e.RATE_LIMITED, KEY],
  ]) {
    test(`${wire}: ${name}`, async () => {
      const call = () => generateText({ model: make(model, key), prompt, ...once });
      const error = await e2e.failure(APICallError, call);
      assert.equal(error.statusCode, status);
      // What the provider read from the body, in its vendor's shape, and not the bare status line.
      assert.ok(error.data?.error?.message, error.responseBody);
      if (status === 429) e2e.assertRetryAfter(error.responseHeaders["retry-after"]);
    });
  }
}

test("chat: embeddings", async (t) => {
  const embed = (model) => embedMany({ model: openai(KEY).embedding(model), values: ["a", "b"], maxRetries: 0 });
  const { embeddings, usage } = await embed(MODEL);
  assert.deepEqual(embeddings.map((numbers) => new Set(numbers)), [new Set([0.125]), new Set([0.125])]);
  e2e.book(t, null, usage.tokens);
  const error = await e2e.failure(APICallError, () => embed(e2e.UNKNOWN));
  assert.equal(error.statusCode, 404);
});
