// What the suites share: where the gateway is, and the ledger of what the SDKs saw.

import assert from "node:assert/strict";
import { appendFileSync, readFileSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";

export const URL = process.env.TOLLGATE_URL;
export const KEY = process.env.TOLLGATE_KEY;
export const BAD_KEY = "sk-nobody-has-this-one";

export const MODEL = "mock-model";
export const CLIENT = process.env.TOLLGATE_CLIENT;
export const LIMITED = `limited-${CLIENT}`;
// The model whose upstream of this wire no other client overloads.
export const overloaded = (wire) => `overloaded-${CLIENT}-${wire}`;
export const UNKNOWN = "no-such-model";

export const SAY = "[[say the toll is paid]]";
export const SAID = "the toll is paid";
export const CALL = '[[tool get_weather {"city":"Oslo"}]]';
export const ARGUMENTS = { city: "Oslo" };
export const RESULT = "rain in Oslo";
export const TOLD = "tool said: rain in Oslo";
export const RATE_LIMITED = "[[error rate_limited]]";
export const OVERLOAD = "[[error overloaded]]";
// The scripted upstream asks to come back after so many seconds.
export const RETRY_AFTER_S = 7;

export const SCHEMA = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

// Notes what the SDK says one answer took; the runner compares it with the usage row.
export function record(test, request, input, output) {
  assert.ok(input > 0 && output > 0, `usage of ${input} and ${output}`);
  book(test, request, input, output);
}

// Notes what the row must say of an answer that is not all words; null is an estimate above zero.
export function book(test, request, input, output = 0) {
  appendFileSync(process.env.TOLLGATE_LEDGER, `${JSON.stringify({ test: test.fullName, request, input, output })}\n`);
}

export async function collect(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

// The failure of a call, which must be of this class.
export async function failure(expected, call) {
  try {
    await call();
  } catch (error) {
    assert.ok(error instanceof expected, `${error?.constructor?.name}: ${error}`);
    return error;
  }
  return assert.fail(`no ${expected.name} was thrown`);
}

export function assertRetryAfter(value) {
  assert.ok(Number(value) >= 1 && Number(value) <= RETRY_AFTER_S, `retry-after: ${value}`);
}

// The upstream writes its log beside its answers.
const LOG_MS = 10_000;

// The body of the request with this mark that the upstream received.
export async function received(mark) {
  for (const deadline = Date.now() + LOG_MS; Date.now() < deadline; await wait(10)) {
    const lines = readFileSync(process.env.TOLLGATE_UPSTREAM_LOG, "utf8").split("\n").slice(0, -1);
    const line = lines.find((text) => text.includes(mark));
    if (line) return JSON.parse(JSON.parse(line).body);
  }
  return assert.fail(`the upstream received nothing with ${mark}`);
}
