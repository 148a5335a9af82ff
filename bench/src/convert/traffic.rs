//! Streams and requests as the four vendors' clients see and send them.

use std::fmt::Write;
use wire::Wire;

/// What every event says.
pub(crate) const WORDS: &str = "some words of text, ";

/// A stream of `count` events of text, between those that begin and end it.
pub(crate) fn stream(wire: Wire, count: u32) -> Vec<u8> {
    let (head, tail) = ends(wire);
    let mut out = String::from(head);
    for at in 0..count {
        // Writing to a String cannot fail.
        let _ = match wire {
            Wire::Anthropic => write!(
                out,
                "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\
                 \"text\":\"{WORDS}\"}}}}\n\n"
            ),
            Wire::Chat => write!(
                out,
                "data: {{\"id\":\"chatcmpl-CYvBkNvcMmzRtWkPzHqkzPUbQfD3w\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
                 \"model\":\"gpt-5\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_50906f2aac\",\"choices\":[{{\"index\":0,\
                 \"delta\":{{\"content\":\"{WORDS}\"}},\"logprobs\":null,\"finish_reason\":null}}],\"usage\":null,\
                 \"obfuscation\":\"NwQ8uZ\"}}\n\n"
            ),
            Wire::Responses => write!(
                out,
                "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\"sequence_number\":{at},\
                 \"item_id\":\"msg_68f0e2c7d7f48193a3a5cbb0b5c0c4d1\",\"output_index\":0,\"content_index\":0,\"delta\":\"{WORDS}\",\
                 \"logprobs\":[],\"obfuscation\":\"NwQ8uZ\"}}\n\n"
            ),
            Wire::Gemini => write!(
                out,
                "data: {{\"candidates\": [{{\"content\": {{\"parts\": [{{\"text\": \"{WORDS}\"}}],\"role\": \"model\"}},\"index\": 0}}],\
                 \"usageMetadata\": {{\"promptTokenCount\": 10,\"candidatesTokenCount\": {at},\"totalTokenCount\": 30,\
                 \"promptTokensDetails\": [{{\"modality\": \"TEXT\",\"tokenCount\": 10}}]}},\"modelVersion\": \"gemini-2.5-flash\",\
                 \"responseId\": \"8kPxaJ3xEuqGqtsP\"}}\r\n\r\n"
            ),
        };
    }
    out.push_str(tail);
    out.into_bytes()
}

/// What begins and what ends a stream.
const fn ends(wire: Wire) -> (&'static str, &'static str) {
    match wire {
        Wire::Anthropic => (
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\
             \"role\":\"assistant\",\"model\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\n\
             event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\
             \"text\":\"\"}}\n\n",
            "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n\
             event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\
             \"usage\":{\"output_tokens\":100}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        ),
        Wire::Chat => (
            "",
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
             data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\ndata: [DONE]\n\n",
        ),
        Wire::Responses => (
            "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"model\":\"m\"}}\n\n\
             event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"output_index\":0,\
             \"item\":{\"type\":\"message\",\"id\":\"msg_1\",\"content\":[]}}\n\n",
            "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\
             \"usage\":{\"input_tokens\":3,\"output_tokens\":4}}}\n\n",
        ),
        Wire::Gemini => {
            ("", "data: {\"candidates\": [{\"content\": {\"role\": \"model\"},\"finishReason\": \"STOP\"}]}\r\n\r\n")
        }
    }
}

/// A line of source code as JSON has it.
const LINE: &str = "    let found = list.iter().find(|one| one.name == \\\"wanted\\\"); // a tab:\\t and an ä\\n";
const SCHEMA: &str = "{\"type\":\"object\",\"properties\":{\"path\":{\"type\":\"string\",\"description\":\"which file\"},\
                      \"limit\":{\"type\":\"integer\"}},\"required\":[\"path\"],\"additionalProperties\":false}";

/// A request of about `size` bytes: rounds of a question, an answer, a call and its result.
pub(crate) fn request(wire: Wire, size: usize) -> Vec<u8> {
    let text = LINE.repeat(12);
    let mut rounds: Vec<String> = Vec::new();
    while rounds.iter().map(String::len).sum::<usize>() < size {
        rounds.push(round(wire, &text, rounds.len()));
    }
    let tools: Vec<String> = (0..20).map(|number| tool(wire, number)).collect();
    let (list, tools, more) = match wire {
        Wire::Anthropic => ("messages", tools.join(","), ",\"max_tokens\":4096"),
        Wire::Chat => ("messages", tools.join(","), ""),
        Wire::Responses => ("input", tools.join(","), ""),
        Wire::Gemini => ("contents", format!("{{\"functionDeclarations\":[{}]}}", tools.join(",")), ""),
    };
    format!("{{\"model\":\"m\"{more},\"{list}\":[{}],\"tools\":[{tools}]}}", rounds.join(",")).into_bytes()
}

fn round(wire: Wire, text: &str, number: usize) -> String {
    let (id, arguments) = (format!("call_{number}"), "{\"path\":\"src/main.rs\",\"limit\":200}");
    let escaped = arguments.replace('"', "\\\"");
    match wire {
        Wire::Anthropic => format!(
            "{{\"role\":\"user\",\"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}}]}},{{\"role\":\"assistant\",\"content\":[\
             {{\"type\":\"text\",\"text\":\"{text}\"}},{{\"type\":\"tool_use\",\"id\":\"{id}\",\"name\":\"read_1\",\"input\":{arguments}}}]}},\
             {{\"role\":\"user\",\"content\":[{{\"type\":\"tool_result\",\"tool_use_id\":\"{id}\",\"content\":\"{text}\"}}]}}"
        ),
        Wire::Chat => format!(
            "{{\"role\":\"user\",\"content\":\"{text}\"}},{{\"role\":\"assistant\",\"content\":\"{text}\",\"tool_calls\":[{{\"id\":\"{id}\",\
             \"type\":\"function\",\"function\":{{\"name\":\"read_1\",\"arguments\":\"{escaped}\"}}}}]}},\
             {{\"role\":\"tool\",\"tool_call_id\":\"{id}\",\"content\":\"{text}\"}}"
        ),
        Wire::Responses => format!(
            "{{\"type\":\"message\",\"role\":\"user\",\"content\":[{{\"type\":\"input_text\",\"text\":\"{text}\"}}]}},\
             {{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{{\"type\":\"output_text\",\"text\":\"{text}\"}}]}},\
             {{\"type\":\"function_call\",\"call_id\":\"{id}\",\"name\":\"read_1\",\"arguments\":\"{escaped}\"}},\
             {{\"type\":\"function_call_output\",\"call_id\":\"{id}\",\"output\":\"{text}\"}}"
        ),
        Wire::Gemini => format!(
            "{{\"role\":\"user\",\"parts\":[{{\"text\":\"{text}\"}}]}},{{\"role\":\"model\",\"parts\":[{{\"text\":\"{text}\"}},\
             {{\"functionCall\":{{\"id\":\"{id}\",\"name\":\"read_1\",\"args\":{arguments}}}}}]}},{{\"role\":\"user\",\"parts\":[\
             {{\"functionResponse\":{{\"id\":\"{id}\",\"name\":\"read_1\",\"response\":{{\"output\":\"{text}\"}}}}}}]}}"
        ),
    }
}

fn tool(wire: Wire, number: u32) -> String {
    let head = format!("\"name\":\"read_{number}\",\"description\":\"Reads a file of the project, or a part of it.\"");
    match wire {
        Wire::Anthropic => format!("{{{head},\"input_schema\":{SCHEMA}}}"),
        Wire::Chat => format!("{{\"type\":\"function\",\"function\":{{{head},\"parameters\":{SCHEMA}}}}}"),
        Wire::Responses => format!("{{\"type\":\"function\",{head},\"parameters\":{SCHEMA},\"strict\":false}}"),
        Wire::Gemini => format!("{{{head},\"parametersJsonSchema\":{SCHEMA}}}"),
    }
}
