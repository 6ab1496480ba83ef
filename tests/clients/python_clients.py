"""The official Python clients of OpenAI, Anthropic and Ollama, and LiteLLM, against running servers.

EMBEDDED_URL serves the embedded model, SCRIPTED_URL a scripted one whose answer is the user's message with [think], [call]
and [q] as markup (tests/server/wire_scripted.h). Strict checks of the clients' own types are on. Ends with a count.
"""

import json
import os
import sys
import time
import traceback
import urllib.request

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # before the import, which would fetch a file otherwise

import anthropic
import litellm
import ollama
import openai
import pydantic

EMBEDDED = os.environ["EMBEDDED_URL"]
SCRIPTED = os.environ["SCRIPTED_URL"]
THINK_CALL = "[think]plan it[/think]Hello[call]weather{city:[q]Oslo[q]}[/call][call]weather{city:[q]Rome[q]}[/call]"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Weather of a city", "parameters": SCHEMA}}
LONG = "word " * 300

litellm.telemetry = False
litellm.suppress_debug_info = True


def user(text):
    return [{"role": "user", "content": text}]


def strictly(value):
    """Validates a client's object against its own declared type: no member missing, none of another type."""
    if isinstance(value, pydantic.BaseModel):
        type(value).model_validate(json.loads(value.model_dump_json(warnings=False)))
    return value


def active():
    with urllib.request.urlopen(SCRIPTED + "/slots") as answer:
        return sum(slot["is_processing"] for slot in json.load(answer))


def wait_until_idle():
    for _ in range(100):
        if active() == 0:
            return
        time.sleep(0.05)
    raise AssertionError("a slot is still busy")


# ---- OpenAI -------------------------------------------------------------------------------------------------------------


def openai_client(url):
    return openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0)


def test_openai_chat():
    answer = strictly(openai_client(EMBEDDED).chat.completions.create(model="embedded", messages=user("upper cat"), seed=0))
    assert answer.choices[0].message.content == "CAT", answer
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == 3 and answer.usage.total_tokens > 3


def test_openai_stream():
    content, usage, roles = "", None, []
    for chunk in openai_client(EMBEDDED).chat.completions.create(
        model="embedded", messages=user("count 1 to 5"), seed=0, stream=True, stream_options={"include_usage": True}
    ):
        strictly(chunk)
        if chunk.usage:
            usage = chunk.usage
        for choice in chunk.choices:
            roles.append(choice.delta.role)
            content += choice.delta.content or ""
    assert content == "1 2 3 4 5", content
    assert roles[0] == "assistant" and usage.completion_tokens == 9


def test_openai_stream_helper_with_tools():
    client = openai_client(SCRIPTED)
    with client.chat.completions.stream(model="m", messages=user(THINK_CALL), tools=[TOOL]) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_completion()
    message = final.choices[0].message
    assert message.content == "Hello", message
    assert [call.function.arguments for call in message.tool_calls] == ['{"city":"Oslo"}', '{"city":"Rome"}']
    assert final.choices[0].finish_reason == "tool_calls"
    assert "tool_calls.function.arguments.done" in events, events
    assert message.reasoning_content == "plan it", message


def test_openai_tool_round_trip():
    client = openai_client(SCRIPTED)
    messages = user("[call]weather{city:[q]Oslo[q]}[/call]")
    first = strictly(client.chat.completions.create(model="m", messages=messages, tools=[TOOL]))
    call = first.choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments) == {"city": "Oslo"} and first.choices[0].message.content is None
    messages += [first.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    second = client.chat.completions.create(model="m", messages=messages, tools=[TOOL])
    assert second.choices[0].message.content == "result: rain", second


def test_openai_choices_stop_and_limits():
    client = openai_client(SCRIPTED)
    answer = client.chat.completions.create(model="m", messages=user("one STOP two"), n=3, stop=["STOP"])
    assert [choice.message.content for choice in answer.choices] == ["one "] * 3
    answer = client.chat.completions.create(model="m", messages=user(LONG), max_tokens=20)
    assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 20


def test_openai_reasoning_never_leaks():
    content = thought = ""
    for chunk in openai_client(SCRIPTED).chat.completions.create(
        model="m", messages=user("[think]" + "secret " * 20 + "[/think]open " * 1 + "open " * 20), stream=True
    ):
        delta = chunk.choices[0].delta
        content += delta.content or ""
        thought += getattr(delta, "reasoning_content", None) or ""
    assert "secret" not in content and "open" in content and "secret" in thought and "open" not in thought


def test_openai_frames_do_not_disturb_the_client():
    content, frames = "", 0
    for chunk in openai_client(EMBEDDED).chat.completions.create(
        model="embedded",
        messages=user("upper cat"),
        seed=0,
        stream=True,
        extra_body={"diffusion": {"frames": True, "max_fps": 0, "fields": ["text", "entropy", "changed", "tokens"]}},
    ):
        strictly(chunk)
        frames += getattr(chunk, "type", "") == "diffusion_frame"
        content += chunk.choices[0].delta.content or ""
    assert content == "CAT" and frames >= 2, (content, frames)


def test_openai_abort():
    client = openai_client(SCRIPTED)
    for _ in range(5):
        stream = client.chat.completions.create(model="m", messages=user(LONG), stream=True)
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        stream.close()
        wait_until_idle()


def test_openai_errors():
    client = openai_client(EMBEDDED)
    for options, param in [
        ({"temperature": 9}, "temperature"),
        ({"logprobs": True}, "logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
         "messages[0].content[0].type"),
    ]:
        try:
            client.chat.completions.create(**({"model": "m", "messages": user("x")} | options))
        except openai.BadRequestError as error:
            assert error.param == param and error.type == "invalid_request_error", error
        else:
            raise AssertionError(param)
    try:
        openai_client(SCRIPTED).chat.completions.create(
            model="m", messages=user("no call"), tools=[TOOL], tool_choice="required"
        )
    except openai.UnprocessableEntityError as error:
        assert error.code == "tool_choice_not_followed"
    else:
        raise AssertionError("tool_choice")


def test_openai_completions_and_models():
    client = openai_client(EMBEDDED)
    prompt = "<bos><|turn>user\nupper cat<turn|>\n<|turn>model\n"
    answer = strictly(client.completions.create(model="embedded", prompt=prompt, seed=0))
    assert answer.choices[0].text == "CAT"
    # Not strictly: the client's own type has no null in finish_reason, which OpenAI's service sends until the end.
    text = "".join(
        chunk.choices[0].text
        for chunk in client.completions.create(model="embedded", prompt=prompt, seed=0, stream=True)
    )
    assert text == "CAT"
    models = list(client.models.list())
    assert strictly(models[0]).id == "embedded" and client.models.retrieve("embedded").id == "embedded"
    try:
        client.models.retrieve("other")
    except openai.NotFoundError:
        pass
    else:
        raise AssertionError("models")


def test_openai_responses():
    client = openai_client(EMBEDDED)
    answer = strictly(client.responses.create(model="embedded", input="upper cat", extra_body={"seed": 0}))
    assert answer.output_text == "CAT" and answer.status == "completed" and answer.usage.output_tokens == 3
    scripted = openai_client(SCRIPTED)
    tool = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}
    with scripted.responses.stream(model="m", input=THINK_CALL, tools=[tool]) as stream:
        types = [strictly(event).type for event in stream]
        final = stream.get_final_response()
    assert final.output_text == "Hello", final
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call", "function_call"]
    assert final.output[0].content[0].text == "plan it"
    assert types[0] == "response.created" and types[-1] == "response.completed"
    items = [item.model_dump() for item in final.output]
    items += [{"type": "function_call_output", "call_id": item.call_id, "output": "rain"} for item in final.output[2:]]
    second = scripted.responses.create(model="m", input=[{"role": "user", "content": THINK_CALL}] + items, tools=[tool])
    assert second.output_text.startswith("result: "), second.output_text


# ---- Anthropic ----------------------------------------------------------------------------------------------------------


def anthropic_client(url):
    return anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)


ANTHROPIC_TOOL = {"name": "weather", "description": "Weather of a city", "input_schema": SCHEMA}


def test_anthropic_message():
    client = anthropic_client(EMBEDDED)
    message = strictly(
        client.messages.create(model="m", max_tokens=40, messages=user("upper cat"), extra_body={"seed": 0})
    )
    assert message.content[0].text == "CAT" and message.stop_reason == "end_turn"
    count = strictly(client.messages.count_tokens(model="m", messages=user("upper cat")))
    usage = message.usage
    assert count.input_tokens == usage.input_tokens + usage.cache_read_input_tokens


def test_anthropic_stream_with_tools_and_thinking():
    client = anthropic_client(SCRIPTED)
    with client.messages.stream(
        model="m",
        max_tokens=2000,
        messages=user(THINK_CALL),
        tools=[ANTHROPIC_TOOL],
        thinking={"type": "enabled", "budget_tokens": 1024},
    ) as stream:
        types = [event.type for event in stream]
        message = strictly(stream.get_final_message())
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert message.content[0].thinking == "plan it" and message.content[1].text == "Hello"
    assert message.content[3].input == {"city": "Rome"} and message.stop_reason == "tool_use"
    assert types[0] == "message_start" and types[-1] == "message_stop"
    results = [{"type": "tool_result", "tool_use_id": block.id, "content": "rain"} for block in message.content[2:]]
    second = client.messages.create(
        model="m",
        max_tokens=100,
        tools=[ANTHROPIC_TOOL],
        messages=user(THINK_CALL)
        + [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}],
    )
    assert second.content[0].text.startswith("result: "), second


def test_anthropic_abort_and_errors():
    client = anthropic_client(SCRIPTED)
    with client.messages.stream(model="m", max_tokens=2000, messages=user(LONG)) as stream:
        for text in stream.text_stream:
            if text:
                break
    wait_until_idle()
    try:
        client.messages.create(model="m", max_tokens=10, messages=[{"role": "user", "content": [{"type": "image"}]}])
    except anthropic.BadRequestError as error:
        assert error.body["error"]["type"] == "invalid_request_error", error.body
    else:
        raise AssertionError("image")
    stopped = client.messages.create(model="m", max_tokens=50, messages=user("a END b"), stop_sequences=["END"])
    assert stopped.stop_reason == "stop_sequence" and stopped.stop_sequence == "END"
    assert client.models.list().data[0].id == "starter"


# ---- Ollama -------------------------------------------------------------------------------------------------------------


def test_ollama_chat():
    client = ollama.Client(EMBEDDED)
    answer = client.chat("embedded", user("upper cat"), options={"seed": 0})
    assert answer.message.content == "CAT" and answer.done_reason == "stop" and answer.eval_count == 3
    text = "".join(part.message.content for part in client.chat("embedded", user("upper cat"), stream=True, options={"seed": 0}))
    assert text == "CAT"
    assert client.generate("embedded", "upper cat", options={"seed": 0}).response == "CAT"
    assert client.list().models[0].model == "embedded"
    assert client.ps().models[0].name == "embedded"
    assert "completion" in client.show("embedded").capabilities


def test_ollama_tools_and_thinking():
    client = ollama.Client(SCRIPTED)
    answer = client.chat("m", user(THINK_CALL), tools=[TOOL], think=True)
    assert answer.message.thinking == "plan it" and answer.message.content == "Hello"
    assert answer.message.tool_calls[1].function.arguments == {"city": "Rome"}
    messages = user(THINK_CALL) + [answer.message, {"role": "tool", "tool_name": "weather", "content": "rain"}]
    assert client.chat("m", messages, tools=[TOOL]).message.content == "result: rain"
    try:
        client.chat("m", user("x"), format="json")
    except ollama.ResponseError as error:
        assert error.status_code == 400
    else:
        raise AssertionError("format")


# ---- LiteLLM ------------------------------------------------------------------------------------------------------------


def test_litellm():
    for model, url in [("openai/embedded", EMBEDDED + "/v1"), ("anthropic/embedded", EMBEDDED), ("ollama_chat/embedded", EMBEDDED)]:
        # Names of seeds differ between the interfaces; temperature 0 asks all of them for the same answer again.
        answer = litellm.completion(model=model, api_base=url, api_key="none", messages=user("upper cat"), temperature=0)
        assert answer.choices[0].message.content == "CAT", (model, answer)
    parts = litellm.completion(
        model="openai/m", api_base=SCRIPTED + "/v1", api_key="none", messages=user(THINK_CALL), tools=[TOOL], stream=True
    )
    whole = litellm.stream_chunk_builder(list(parts))
    assert whole.choices[0].message.content == "Hello" and len(whole.choices[0].message.tool_calls) == 2, whole


def main():
    tests = {name: test for name, test in globals().items() if name.startswith("test_")}
    failed = 0
    for name, test in tests.items():
        try:
            test()
            print("ok     ", name)
        except Exception:  # every failure is reported, whatever a client raises
            failed += 1
            print("FAILED ", name)
            traceback.print_exc()
    print(f"{len(tests) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
