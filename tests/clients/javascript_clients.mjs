// The official JavaScript clients of OpenAI and Anthropic against running servers; see python_clients.py for what they serve.
//   node javascript_clients.mjs FOLDER_WITH_NODE_MODULES
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import process from "node:process";

const folder = resolve(process.argv[2]);
if (!existsSync(join(folder, "node_modules", "openai"))) {
  console.log("skipped: the packages are not there (script/clients installs them)");
  process.exit(77);
}
const require = createRequire(join(folder, "package.json"));
const OpenAI = require("openai").OpenAI;
const Anthropic = require("@anthropic-ai/sdk").Anthropic;

const { EMBEDDED_URL, SCRIPTED_URL } = process.env;
const openai = (url) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const anthropic = (url) => new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
const user = (content) => [{ role: "user", content }];
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tool = { type: "function", function: { name: "weather", description: "Weather of a city", parameters: schema } };
const thinkCall = "[think]plan it[/think]Hello[call]weather{city:[q]Oslo[q]}[/call][call]weather{city:[q]Rome[q]}[/call]";
const long = "word ".repeat(300);

const idle = async () => {
  for (let i = 0; i < 100; ++i) {
    const slots = await (await fetch(`${SCRIPTED_URL}/slots`)).json();
    if (!slots.some((slot) => slot.is_processing)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail("a slot is still busy");
};

const tests = {
  "openai chat": async () => {
    const answer = await openai(EMBEDDED_URL).chat.completions.create({ model: "m", messages: user("upper cat"), seed: 0 });
    assert.equal(answer.choices[0].message.content, "CAT");
    assert.equal(answer.usage.completion_tokens, 3);
  },
  "openai stream": async () => {
    const stream = await openai(EMBEDDED_URL).chat.completions.create({
      model: "m", messages: user("count 1 to 5"), seed: 0, stream: true, stream_options: { include_usage: true },
      diffusion: { frames: true, max_fps: 0 },
    });
    let content = "", frames = 0, usage;
    for await (const chunk of stream) {
      content += chunk.choices[0]?.delta?.content ?? "";
      frames += chunk.type === "diffusion_frame" ? 1 : 0;
      usage = chunk.usage ?? usage;
    }
    assert.equal(content, "1 2 3 4 5");
    assert.ok(frames >= 2);
    assert.equal(usage.completion_tokens, 9);
  },
  "openai stream helper with tools": async () => {
    const runner = openai(SCRIPTED_URL).chat.completions.stream({ model: "m", messages: user(thinkCall), tools: [tool] });
    const message = (await runner.finalChatCompletion()).choices[0].message;
    assert.equal(message.content, "Hello");
    assert.deepEqual(message.tool_calls.map((call) => JSON.parse(call.function.arguments).city), ["Oslo", "Rome"]);
  },
  "openai runs tools": async () => {
    const runner = openai(SCRIPTED_URL).chat.completions.runTools({
      model: "m", messages: user("[call]weather{city:[q]Oslo[q]}[/call]"),
      tools: [{ type: "function", function: { ...tool.function, parse: JSON.parse, function: ({ city }) => `rain in ${city}` } }],
    });
    assert.equal(await runner.finalContent(), "result: rain in Oslo");
  },
  "openai abort": async () => {
    for (let round = 0; round < 3; ++round) {
      const stream = await openai(SCRIPTED_URL).chat.completions.create({ model: "m", messages: user(long), stream: true });
      for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
      stream.controller.abort();
      await idle();
    }
  },
  "openai errors": async () => {
    await assert.rejects(
      openai(EMBEDDED_URL).chat.completions.create({ model: "m", messages: user("x"), logprobs: true }),
      (error) => error instanceof OpenAI.BadRequestError && error.param === "logprobs",
    );
  },
  "openai responses": async () => {
    const stream = openai(SCRIPTED_URL).responses.stream({
      model: "m", input: thinkCall, tools: [{ type: "function", name: "weather", parameters: schema, strict: false }],
    });
    const final = await stream.finalResponse();
    assert.equal(final.output_text, "Hello");
    assert.deepEqual(final.output.map((item) => item.type), ["reasoning", "message", "function_call", "function_call"]);
    const whole = await openai(EMBEDDED_URL).responses.create({ model: "m", input: "upper cat", seed: 0 });
    assert.equal(whole.output_text, "CAT");
  },
  "openai completions and models": async () => {
    const prompt = "<bos><|turn>user\nupper cat<turn|>\n<|turn>model\n";
    const answer = await openai(EMBEDDED_URL).completions.create({ model: "m", prompt, seed: 0 });
    assert.equal(answer.choices[0].text, "CAT");
    assert.equal((await openai(EMBEDDED_URL).models.list()).data[0].id, "embedded");
  },
  "anthropic message": async () => {
    const message = await anthropic(EMBEDDED_URL).messages.create({ model: "m", max_tokens: 40, messages: user("upper cat"), seed: 0 });
    assert.equal(message.content[0].text, "CAT");
    const count = await anthropic(EMBEDDED_URL).messages.countTokens({ model: "m", messages: user("upper cat") });
    assert.ok(count.input_tokens > 0);
  },
  "anthropic stream with tools and thinking": async () => {
    const stream = anthropic(SCRIPTED_URL).messages.stream({
      model: "m", max_tokens: 2000, messages: user(thinkCall), tools: [{ name: "weather", input_schema: schema }],
      thinking: { type: "enabled", budget_tokens: 1024 },
    });
    const message = await stream.finalMessage();
    assert.deepEqual(message.content.map((block) => block.type), ["thinking", "text", "tool_use", "tool_use"]);
    assert.deepEqual(message.content[3].input, { city: "Rome" });
    assert.equal(message.stop_reason, "tool_use");
  },
  "anthropic abort": async () => {
    const stream = anthropic(SCRIPTED_URL).messages.stream({ model: "m", max_tokens: 2000, messages: user(long) });
    stream.done().catch(() => {});  // it ends in an abort
    await new Promise((resolve) => stream.once("text", resolve));
    stream.abort();
    await idle();
  },
};

let failed = 0;
for (const [name, test] of Object.entries(tests)) {
  try {
    await test();
    console.log("ok     ", name);
  } catch (error) {
    ++failed;
    console.log("FAILED ", name, error);
  }
}
console.log(`${Object.keys(tests).length - failed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
