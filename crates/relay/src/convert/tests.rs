use super::*;
use domain::{catalog::EndpointConfig, format::ApiFormat, ids::EndpointId};
use std::collections::BTreeMap;
use uuid::Uuid;

fn endpoint(base_url: &str) -> Endpoint {
    Endpoint {
        id: EndpointId::from(Uuid::nil()),
        provider_id: Uuid::nil().into(),
        api_format: ApiFormat::OpenAi,
        base_url: base_url.to_owned(),
        headers: BTreeMap::new(),
        timeout_s: 300,
        max_retries: 0,
        max_concurrent: None,
        rate_limit: None,
        is_active: true,
        custom_path: None,
        config: EndpointConfig::default(),
        proxy: None,
        proxy_password: None,
    }
}

#[test]
fn well_known_servers_are_told_by_their_hosts() {
    let plain = Quirks::default();
    let switched = Quirks {
        old_max_tokens: true,
        reasoning_content: true,
        thinking_switch: true,
        web_search: false,
        ..Quirks::default()
    };
    let qwen = Quirks { thinking_switch: false, enable_thinking: true, ..switched };
    for (base_url, want) in [
        ("https://api.openai.com/v1", plain),
        ("https://my.openai.azure.com/openai/v1", plain),
        ("https://api.deepseek.com", switched),
        ("https://API.DeepSeek.com:443/v1", switched),
        ("https://api.moonshot.cn/v1", switched),
        ("https://open.bigmodel.cn/api/paas/v4", switched),
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", qwen),
        ("https://notdeepseek.com/v1", plain),
        ("https://proxy.test/deepseek.com", plain),
    ] {
        assert_eq!(quirks(&endpoint(base_url)), want, "{base_url}");
    }
    let mut told = endpoint("https://api.deepseek.com");
    told.config.max_tokens_field = Some("max_completion_tokens".to_owned());
    told.config.include_usage = Some(false);
    assert_eq!(quirks(&told), Quirks { old_max_tokens: false, include_usage: false, ..switched });
}

#[test]
fn losses_are_named_by_what_they_have_in_common() {
    for (pointer, want) in [
        ("/top_k", "/top_k"),
        ("/messages/12/content/0/cache_control", "/messages/*/content/*/cache_control"),
        ("/tools/3", "/tools/*"),
        ("", ""),
    ] {
        assert_eq!(without_numbers(pointer), want);
    }
}
