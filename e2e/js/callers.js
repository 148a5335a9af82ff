// The SDKs' four APIs behind one face, so that one table of scenarios can be put to each of them.
//
// `ask(model, turns, how)` takes the conversation so far; `user` and `results` make entries of it. An answer is its text,
// thought, calls, token counts, request id, how many pieces its text came in, and the turn that goes back.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { ApiError, GoogleGenAI } from "@google/genai";
import OpenAI from "openai";
import * as e2e from "./common.js";

// A picture of one dot.
export const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
export const MAX_TOKENS = 2048;
// Fits below the maximum.
const THINKING_TOKENS = 1024;
const FUNCTION = { name: "get_weather", description: "Weather", parameters: e2e.SCHEMA };

// The SDKs' stream helpers keep no headers: whoever fetches for them does.
function keeping() {
  const kept = {};
  const get = async (url, init) => {
    const response = await fetch(url, init);
    kept.request = response.headers.get("x-request-id");
    return response;
  };
  return { kept, get };
}

class Chat {
  errors = {
    rateLimited: [OpenAI.RateLimitError, 429, "rate_limit_exceeded"],
    overloaded: [OpenAI.InternalServerError, 503, "server_error"],
    badRequest: [OpenAI.BadRequestError, 400, "invalid_request_error"],
    tooLong: [OpenAI.BadRequestError, 400, "context_length_exceeded"],
  };
  // Thrown while a stream is read.
  broken = OpenAI.APIError;

  constructor() {
    const { kept, get } = keeping();
    this.kept = kept;
    this.client = new OpenAI({ apiKey: e2e.KEY, baseURL: `${e2e.URL}/v1`, maxRetries: 0, fetch: get });
  }

  user(text, image) {
    const content = [{ type: "text", text }];
    if (image) content.push({ type: "image_url", image_url: { url: `data:image/png;base64,${PNG}` } });
    return [{ role: "user", content }];
  }

  results(answer, texts) {
    const calls = answer.turn[0].tool_calls;
    return texts.map((content, at) => ({ role: "tool", tool_call_id: calls[at].id, content }));
  }

  async ask(model, messages, { stream, tools, schema, think } = {}) {
    const body = { model, messages, max_completion_tokens: MAX_TOKENS };
    if (tools) body.tools = [{ type: "function", function: FUNCTION }];
    if (schema) {
      body.response_format = { type: "json_schema", json_schema: { name: "place", schema, strict: true } };
    }
    if (think) body.reasoning_effort = "medium";
    if (!stream) return this.answer(await this.client.chat.completions.create(body));
    const events = this.client.chat.completions.stream({ ...body, stream_options: { include_usage: true } });
    let pieces = 0;
    let thought = "";
    for await (const chunk of events) {
      for (const { delta } of chunk.choices) {
        pieces += delta.content ? 1 : 0;
        thought += delta.reasoning_content ?? "";
      }
    }
    // The SDK's own accumulation knows no reasoning.
    return { ...this.answer(await events.finalChatCompletion()), pieces, thought };
  }

  answer(completion) {
    const { message } = completion.choices[0];
    const { parsed: _, ...turn } = message;
    return {
      text: message.content ?? "",
      thought: message.reasoning_content ?? "",
      calls: (message.tool_calls ?? []).map((call) => [call.function.name, JSON.parse(call.function.arguments)]),
      prompt: completion.usage.prompt_tokens,
      output: completion.usage.completion_tokens,
      request: this.kept.request,
      turn: [turn],
    };
  }

  said(error) {
    return [error.status, `${error.code} ${error.type}`, error.headers?.get("retry-after")];
  }
}

class Responses extends Chat {
  user(text, image) {
    const content = [{ type: "input_text", text }];
    if (image) content.push({ type: "input_image", detail: "auto", image_url: `data:image/png;base64,${PNG}` });
    return [{ role: "user", content }];
  }

  results(answer, texts) {
    const calls = answer.turn.filter((item) => item.type === "function_call");
    return texts.map((output, at) => ({ type: "function_call_output", call_id: calls[at].call_id, output }));
  }

  async ask(model, input, { stream, tools, schema, think } = {}) {
    const body = { model, input, max_output_tokens: MAX_TOKENS, store: false, include: ["reasoning.encrypted_content"] };
    if (tools) body.tools = [{ type: "function", ...FUNCTION }];
    if (schema) body.text = { format: { type: "json_schema", name: "place", schema, strict: true } };
    if (think) body.reasoning = { effort: "medium", summary: "auto" };
    if (!stream) return this.answer(await this.client.responses.create(body));
    const events = this.client.responses.stream(body);
    let pieces = 0;
    for await (const event of events) {
      pieces += event.type === "response.output_text.delta" ? 1 : 0;
      // This SDK does not throw what a stream says about itself.
      if (event.type === "response.failed") throw new OpenAI.APIError(undefined, event.response.error);
    }
    return { ...this.answer(await events.finalResponse()), pieces };
  }

  answer(response) {
    const of = (type) => response.output.filter((item) => item.type === type);
    return {
      text: response.output_text,
      thought: of("reasoning").flatMap((item) => item.summary.map((part) => part.text)).join(""),
      calls: of("function_call").map((call) => [call.name, JSON.parse(call.arguments)]),
      prompt: response.usage.input_tokens,
      output: response.usage.output_tokens,
      request: this.kept.request,
      turn: response.output,
    };
  }
}

class Claude {
  errors = {
    rateLimited: [Anthropic.RateLimitError, 429, "rate_limit_error"],
    overloaded: [Anthropic.OverloadedError, 529, "overloaded_error"],
    badRequest: [Anthropic.BadRequestError, 400, "invalid_request_error"],
    tooLong: [Anthropic.BadRequestError, 400, "prompt is too long"],
  };
  broken = Anthropic.APIError;

  constructor() {
    const { kept, get } = keeping();
    this.kept = kept;
    this.client = new Anthropic({ apiKey: e2e.KEY, baseURL: e2e.URL, maxRetries: 0, fetch: get });
  }

  user(text, image) {
    const content = [{ type: "text", text }];
    if (image) content.push({ type: "image", source: { type: "base64", media_type: "image/png", data: PNG } });
    return [{ role: "user", content }];
  }

  results(answer, texts) {
    const calls = answer.turn[0].content.filter((block) => block.type === "tool_use");
    const content = texts.map((text, at) => ({ type: "tool_result", tool_use_id: calls[at].id, content: text }));
    return [{ role: "user", content }];
  }

  async ask(model, messages, { stream, tools, schema, think } = {}) {
    const body = { model, messages, max_tokens: MAX_TOKENS };
    if (tools) body.tools = [{ name: "get_weather", description: "Weather", input_schema: e2e.SCHEMA }];
    if (schema) body.output_config = { format: { type: "json_schema", schema } };
    if (think) body.thinking = { type: "enabled", budget_tokens: THINKING_TOKENS };
    if (!stream) return this.answer(await this.client.messages.create(body));
    let pieces = 0;
    const events = this.client.messages.stream(body).on("text", () => {
      pieces += 1;
    });
    const message = await events.finalMessage();
    return { ...this.answer(message), pieces };
  }

  answer(message) {
    const of = (type) => message.content.filter((block) => block.type === type);
    const { input_tokens, cache_read_input_tokens, cache_creation_input_tokens, output_tokens } = message.usage;
    return {
      text: of("text").map((block) => block.text).join(""),
      thought: of("thinking").map((block) => block.thinking).join(""),
      calls: of("tool_use").map((block) => [block.name, block.input]),
      prompt: input_tokens + (cache_read_input_tokens ?? 0) + (cache_creation_input_tokens ?? 0),
      output: output_tokens,
      request: this.kept.request,
      turn: [{ role: "assistant", content: message.content }],
    };
  }

  said(error) {
    const { type, message } = error.error?.error ?? {};
    return [error.status, `${type} ${message}`, error.headers?.get("retry-after")];
  }
}

class Gemini {
  errors = {
    rateLimited: [ApiError, 429, "RESOURCE_EXHAUSTED"],
    overloaded: [ApiError, 503, "UNAVAILABLE"],
    badRequest: [ApiError, 400, "INVALID_ARGUMENT"],
    tooLong: [ApiError, 400, "exceeds the maximum"],
  };
  // What it throws while it reads a stream is not exported, or a plain error.
  broken = Error;

  constructor() {
    this.client = new GoogleGenAI({ apiKey: e2e.KEY, httpOptions: { baseUrl: e2e.URL } });
  }

  user(text, image) {
    const parts = [{ text }];
    if (image) parts.push({ inlineData: { mimeType: "image/png", data: PNG } });
    return [{ role: "user", parts }];
  }

  results(answer, texts) {
    const calls = answer.turn[0].parts.flatMap((part) => part.functionCall ?? []);
    const parts = texts.map((output, at) => {
      const { id, name } = calls[at];
      return { functionResponse: { id, name, response: { output } } };
    });
    return [{ role: "user", parts }];
  }

  async ask(model, contents, { stream, tools, schema, think } = {}) {
    const config = { maxOutputTokens: MAX_TOKENS };
    if (tools) {
      const { parameters: parametersJsonSchema, ...named } = FUNCTION;
      config.tools = [{ functionDeclarations: [{ ...named, parametersJsonSchema }] }];
    }
    if (schema) Object.assign(config, { responseMimeType: "application/json", responseJsonSchema: schema });
    if (think) config.thinkingConfig = { includeThoughts: true, thinkingBudget: THINKING_TOKENS };
    const request = { model, contents, config };
    if (!stream) return this.answer([await this.client.models.generateContent(request)]);
    return this.answer(await e2e.collect(await this.client.models.generateContentStream(request)));
  }

  answer(chunks) {
    const last = chunks.at(-1);
    assert.equal(last.candidates[0].finishReason, "STOP");
    const parts = chunks.flatMap((chunk) => chunk.candidates[0].content?.parts ?? []);
    const said = parts.filter((part) => part.text && !part.thought);
    const { promptTokenCount, candidatesTokenCount, thoughtsTokenCount } = last.usageMetadata;
    return {
      text: said.map((part) => part.text).join(""),
      thought: parts.filter((part) => part.thought).map((part) => part.text).join(""),
      calls: parts.flatMap((part) => (part.functionCall ? [[part.functionCall.name, part.functionCall.args]] : [])),
      prompt: promptTokenCount,
      output: (candidatesTokenCount ?? 0) + (thoughtsTokenCount ?? 0),
      request: last.sdkHttpResponse.headers["x-request-id"],
      turn: [{ role: "model", parts }],
      pieces: said.length,
    };
  }

  // This SDK keeps the status, and the body as its message.
  said(error) {
    const { status, message, details = [] } = JSON.parse(error.message).error;
    const delay = details.find((detail) => detail.retryDelay)?.retryDelay;
    return [error.status, `${status} ${message}`, delay && Number.parseInt(delay, 10)];
  }
}

export const CALLERS = { chat: Chat, responses: Responses, anthropic: Claude, gemini: Gemini };
