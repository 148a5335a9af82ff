// The SDKs beside chat: text completions, embeddings, pictures, sound and moderations.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, GoogleGenAI } from "@google/genai";
import OpenAI, { toFile } from "openai";
import * as e2e from "./common.js";

const { MODEL, SAY, SAID } = e2e;
const WORDS = "The toll is paid.";
const DOT =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

const client = (apiKey = e2e.KEY) => new OpenAI({ apiKey, baseURL: `${e2e.URL}/v1`, maxRetries: 0 });
const picture = () => toFile(Buffer.from(DOT, "base64"), "dot.png", { type: "image/png" });
const sound = () => toFile(Buffer.from("ID3\x04\r\n--\r\n", "latin1"), "toll.mp3", { type: "audio/mpeg" });
const id = (response) => response.headers.get("x-request-id");

test("completions: plain", async (t) => {
  const { data, response } = await client().completions.create({ model: MODEL, prompt: SAY }).withResponse();
  assert.deepEqual([data.choices[0].text, data.choices[0].finish_reason], [SAID, "stop"]);
  e2e.record(t, id(response), data.usage.prompt_tokens, data.usage.completion_tokens);
});

test("completions: streaming", async (t) => {
  const asked = { model: MODEL, prompt: SAY, stream: true, stream_options: { include_usage: true } };
  const { data, response } = await client().completions.create(asked).withResponse();
  const chunks = await e2e.collect(data);
  const text = chunks.flatMap((chunk) => chunk.choices).map((choice) => choice.text);
  assert.equal(text.join(""), SAID);
  e2e.record(t, id(response), chunks.at(-1).usage.prompt_tokens, chunks.at(-1).usage.completion_tokens);
});

test("embeddings", async (t) => {
  const asked = { model: MODEL, input: ["a", "b"], dimensions: 3 };
  const { data, response } = await client().embeddings.create(asked).withResponse();
  const numbers = [0.125, 0.125, 0.125];
  assert.deepEqual(data.data.map((each) => [...each.embedding]), [numbers, numbers]);
  e2e.book(t, id(response), data.usage.prompt_tokens);
});

test("moderations", async (t) => {
  const { data, response } = await client().moderations.create({ model: MODEL, input: WORDS }).withResponse();
  assert.equal(data.results[0].flagged, false);
  e2e.book(t, id(response), 0);
});

test("images: generate and edit", async (t) => {
  const prompt = "a toll house";
  for (const call of [
    client().images.generate({ model: MODEL, prompt }),
    client().images.edit({ model: MODEL, prompt, image: await picture() }),
    client().images.edit({ model: MODEL, prompt, image: [await picture(), await picture()] }),
  ]) {
    const { data, response } = await call.withResponse();
    assert.equal(data.data[0].b64_json, DOT);
    e2e.record(t, id(response), data.usage.input_tokens, data.usage.output_tokens);
  }
});

test("images: streaming", async (t) => {
  const asked = { model: MODEL, prompt: "a toll house", stream: true, partial_images: 1 };
  for (const [what, call] of [
    ["image_generation", client().images.generate(asked)],
    ["image_edit", client().images.edit({ ...asked, image: await picture() })],
  ]) {
    const { data, response } = await call.withResponse();
    const events = await e2e.collect(data);
    assert.deepEqual(events.map((event) => event.type), [`${what}.partial_image`, `${what}.completed`]);
    e2e.record(t, id(response), events[1].usage.input_tokens, events[1].usage.output_tokens);
  }
});

test("speech", async (t) => {
  const response = await client().audio.speech.create({ model: MODEL, voice: "alloy", input: WORDS });
  const bytes = Buffer.from(await response.arrayBuffer());
  assert.ok(bytes.subarray(0, 3).equals(Buffer.from("ID3")) && bytes.toString("latin1").endsWith(WORDS));
  e2e.book(t, id(response), Math.ceil(WORDS.length / 4));
});

test("transcriptions", async (t) => {
  const asked = { model: MODEL, file: await sound(), prompt: SAY };
  const { data, response } = await client().audio.transcriptions.create(asked).withResponse();
  assert.equal(data.text, SAID);
  e2e.record(t, id(response), data.usage.input_tokens, data.usage.output_tokens);
});

test("transcriptions: streaming", async (t) => {
  const asked = { model: MODEL, file: await sound(), prompt: SAY, stream: true };
  const { data, response } = await client().audio.transcriptions.create(asked).withResponse();
  const events = await e2e.collect(data);
  const deltas = events.filter((event) => event.type === "transcript.text.delta");
  assert.deepEqual([deltas.map((event) => event.delta).join(""), events.at(-1).text], [SAID, SAID]);
  e2e.record(t, id(response), events.at(-1).usage.input_tokens, events.at(-1).usage.output_tokens);
});

for (const [route, call] of Object.entries({
  completions: (caller, model) => caller.completions.create({ model, prompt: WORDS }),
  embeddings: (caller, model) => caller.embeddings.create({ model, input: WORDS }),
  moderations: (caller, model) => caller.moderations.create({ model, input: WORDS }),
  images: (caller, model) => caller.images.generate({ model, prompt: WORDS }),
  edits: async (caller, model) => caller.images.edit({ model, prompt: WORDS, image: await picture() }),
  speech: (caller, model) => caller.audio.speech.create({ model, voice: "alloy", input: WORDS }),
  transcriptions: async (caller, model) => caller.audio.transcriptions.create({ model, file: await sound() }),
})) {
  test(`${route}: errors`, async () => {
    const refused = await e2e.failure(OpenAI.AuthenticationError, () => call(client(e2e.BAD_KEY), MODEL));
    assert.deepEqual([refused.status, refused.code], [401, "invalid_api_key"]);
    const unknown = await e2e.failure(OpenAI.NotFoundError, () => call(client(), e2e.UNKNOWN));
    assert.deepEqual([unknown.status, unknown.code], [404, "model_not_found"]);
  });
}

test("gemini: embeddings", async () => {
  const caller = new GoogleGenAI({ apiKey: e2e.KEY, httpOptions: { baseUrl: e2e.URL } });
  const config = { outputDimensionality: 3 };
  const answer = await caller.models.embedContent({ model: MODEL, contents: WORDS, config });
  assert.deepEqual(answer.embeddings.map((each) => each.values), [[0.125, 0.125, 0.125]]);
  const asked = () => caller.models.embedContent({ model: e2e.UNKNOWN, contents: WORDS });
  const error = await e2e.failure(ApiError, asked);
  assert.equal(error.status, 404);
});
