// Every SDK against an upstream of every wire: one table of scenarios, sixteen pairs, four of them native.

import assert from "node:assert/strict";
import { test } from "node:test";
import { CALLERS, PNG } from "./callers.js";
import * as e2e from "./common.js";

const TWO_CALLS = '[[tools get_weather {"city":"Oslo"} get_weather {"city":"Bergen"}]]';
const WEATHERS = ["rain in Oslo", "sun in Bergen"];
const PLACE = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};

// One pair in one test: `ask` notes what an answer took.
function pair(t, asked, served) {
  const caller = new CALLERS[asked]();
  const model = `only-${served}`;
  const ask = async (turns, how) => {
    const answer = await caller.ask(model, turns, how);
    e2e.record(t, answer.request, answer.prompt, answer.output);
    return answer;
  };
  const provoked = (kind) => `${kind}-${e2e.CLIENT}-${asked}-${served}`;
  return { caller, ask, provoked, model };
}

const SCENARIOS = {
  async plain({ caller, ask }) {
    assert.equal((await ask(caller.user(e2e.SAY))).text, e2e.SAID);
  },
  async streaming({ caller, ask }) {
    const answer = await ask(caller.user(e2e.SAY), { stream: true });
    assert.equal(answer.text, e2e.SAID);
    assert.ok(answer.pieces > 1);
  },
  "tool round trip": (pair) => toolRoundTrip(pair, false),
  "streamed tool round trip": (pair) => toolRoundTrip(pair, true),
  "parallel tools": (pair) => parallelTools(pair, false),
  "streamed parallel tools": (pair) => parallelTools(pair, true),
  async image({ caller, ask }, mark, served) {
    assert.equal((await ask(caller.user(`${mark} ${e2e.SAY}`, true))).text, e2e.SAID);
    const body = await e2e.received(mark);
    // Where it stands in each wire is what the Python suite looks at.
    assert.ok(JSON.stringify(body).includes(PNG), served);
  },
  async "structured output"({ caller, ask }) {
    const answer = await ask(caller.user('[[say {"city":"Oslo"}]]'), { schema: PLACE });
    assert.deepEqual(JSON.parse(answer.text), e2e.ARGUMENTS);
  },
  reasoning: (pair) => reasoning(pair, false),
  "streamed reasoning": (pair) => reasoning(pair, true),
  "bad request": ({ caller, model }) => failure(caller, "badRequest", "[[error bad_request]]", model),
  "too long": ({ caller, model }) => failure(caller, "tooLong", "[[error context_too_long]]", model),
  async "rate limit"({ caller, provoked }) {
    e2e.assertRetryAfter(await failure(caller, "rateLimited", e2e.RATE_LIMITED, provoked("limited"), true));
  },
  overloaded: ({ caller, provoked }) => failure(caller, "overloaded", e2e.OVERLOAD, provoked("faulty")),
  async "error in a stream"({ caller, provoked }) {
    for (const directive of ["[[fail]]", "[[cut]]"]) {
      const call = () => caller.ask(provoked("faulty"), caller.user(directive), { stream: true });
      await e2e.failure(caller.broken, call);
    }
  },
};

async function toolRoundTrip({ caller, ask }, stream) {
  const turns = caller.user(e2e.CALL);
  const asked = await ask(turns, { tools: true, stream });
  assert.deepEqual(asked.calls, [["get_weather", e2e.ARGUMENTS]]);
  turns.push(...asked.turn, ...caller.results(asked, [e2e.RESULT]));
  const told = await ask(turns, { tools: true, stream });
  assert.ok(told.text.includes(e2e.RESULT), told.text);
}

async function parallelTools({ caller, ask }, stream) {
  const turns = caller.user(TWO_CALLS);
  const asked = await ask(turns, { tools: true, stream });
  assert.deepEqual(
    asked.calls,
    ["Oslo", "Bergen"].map((city) => ["get_weather", { city }]),
  );
  turns.push(...asked.turn, ...caller.results(asked, WEATHERS));
  const told = await ask(turns, { tools: true, stream });
  // The upstream tells the results in the order in which it received them.
  const places = WEATHERS.map((weather) => told.text.indexOf(weather));
  assert.ok(0 <= places[0] && places[0] < places[1], told.text);
}

async function reasoning({ caller, ask }, stream) {
  const turns = caller.user("[[think about the toll]]");
  const thought = await ask(turns, { think: true, stream });
  assert.deepEqual([thought.thought, thought.text], ["about the toll", "Done thinking."]);
  turns.push(...thought.turn, ...caller.user(e2e.SAY));
  assert.equal((await ask(turns, { think: true, stream })).text, e2e.SAID);
}

// The error that a directive brings about, as the SDK has read it; gives the time after which to come back.
async function failure(caller, kind, directive, model, stream = false) {
  const [expected, status, word] = caller.errors[kind];
  const error = await e2e.failure(expected, () => caller.ask(model, caller.user(directive), { stream }));
  const [code, said, retryAfter] = caller.said(error);
  assert.equal(code, status);
  assert.ok(said.includes(word), said);
  return retryAfter;
}

for (const asked of Object.keys(CALLERS)) {
  for (const served of Object.keys(CALLERS)) {
    for (const [name, scenario] of Object.entries(SCENARIOS)) {
      const title = `${asked} to ${served}: ${name}`;
      test(title, (t) => scenario(pair(t, asked, served), `(js ${title})`, served));
    }
  }
}
