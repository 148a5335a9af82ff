-- Configuration, records and the bookkeeping of a node.
-- Times are Unix microseconds, money is nano-dollars, prices are nano-dollars per million tokens, factors are
-- millionths, JSON is text.

CREATE TABLE users (
    id UUID PRIMARY KEY,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    email TEXT NOT NULL,
    username TEXT NOT NULL,
    password_hash TEXT,
    role TEXT NOT NULL,
    allowed_providers TEXT,
    allowed_endpoints TEXT,
    allowed_api_formats TEXT,
    allowed_models TEXT,
    model_capability_settings TEXT,
    quota_usd BIGINT,
    used_usd BIGINT NOT NULL DEFAULT 0,
    total_usd BIGINT NOT NULL DEFAULT 0,
    is_active BOOLEAN NOT NULL,
    is_deleted BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE UNIQUE INDEX users_email ON users (email) WHERE NOT is_deleted;
CREATE UNIQUE INDEX users_username ON users (username) WHERE NOT is_deleted;

CREATE TABLE user_quotas (
    id UUID PRIMARY KEY,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    user_id UUID NOT NULL REFERENCES users (id),
    quota_type TEXT NOT NULL,
    quota_usd BIGINT NOT NULL,
    period_start BIGINT NOT NULL,
    period_end BIGINT NOT NULL,
    used_usd BIGINT NOT NULL DEFAULT 0,
    is_active BOOLEAN NOT NULL
);
CREATE INDEX user_quotas_user ON user_quotas (user_id, period_start);
CREATE UNIQUE INDEX user_quotas_active ON user_quotas (user_id) WHERE is_active;

CREATE TABLE providers (
    id UUID PRIMARY KEY,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    name TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    description TEXT,
    website TEXT,
    billing_type TEXT NOT NULL,
    monthly_quota_usd BIGINT,
    monthly_used_usd BIGINT NOT NULL DEFAULT 0,
    quota_reset_day BIGINT NOT NULL,
    quota_last_reset_at BIGINT,
    rpm_limit BIGINT,
    provider_priority BIGINT NOT NULL,
    is_active BOOLEAN NOT NULL,
    quota_expires_at BIGINT,
    rate_limit BIGINT,
    concurrent_limit BIGINT
);

CREATE TABLE user_preferences (
    id UUID PRIMARY KEY,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    user_id UUID NOT NULL UNIQUE REFERENCES users (id),
    default_provider_id UUID REFERENCES providers (id) ON DELETE SET NULL
);

CREATE TABLE api_keys (
    id UUID PRIMARY KEY,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    user_id UUID REFERENCES users (id),
    key_hash BYTEA NOT NULL UNIQUE,
    previous_key_hash BYTEA,
    previous_valid_until BIGINT,
    key_encrypted BYTEA,
    key_prefix TEXT,
    key_last4 TEXT,
    name TEXT,
    total_requests BIGINT NOT NULL DEFAULT 0,
    total_cost_usd BIGINT NOT NULL DEFAULT 0,
    is_standalone BOOLEAN NOT NULL,
    current_balance_usd BIGINT,
    balance_used_usd BIGINT NOT NULL DEFAULT 0,
    allowed_providers TEXT,
    allowed_endpoints TEXT,
    allowed_api_formats TEXT,
    allowed_models TEXT,
    allowed_ips TEXT,
    rate_limit BIGINT,
    concurrent_limit BIGINT,
    force_capabilities TEXT,
    on_disconnect TEXT,
    capture_until BIGINT,
    is_active BOOLEAN NOT NULL,
    locked_at BIGINT,
    lock_reason TEXT,
    last_used_at BIGINT,
    expires_at BIGINT,
    auto_delete_on_expiry BOOLEAN NOT NULL,
    CHECK (is_standalone OR user_id IS NOT NULL)
);
CREATE INDEX api_keys_user ON api_keys (user_id);

CREATE TABLE api_key_provider_mappings (
    id UUID PRIMARY KEY,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    api_key_id UUID NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    provider_id UUID NOT NULL REFERENCES providers (id) ON DELETE CASCADE,
    priority_adjustment BIGINT NOT NULL,
    weight_multiplier BIGINT NOT NULL CHECK (weight_multiplier > 0),
    is_enabled BOOLEAN NOT NULL,
    UNIQUE (api_key_id, provider_id)
);

CREATE TABLE provider_endpoints (
    id UUID PRIMARY KEY,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    provider_id UUID NOT NULL REFERENCES providers (id) ON DELETE CASCADE,
    api_format TEXT NOT NULL,
    base_url TEXT NOT NULL,
    headers TEXT,
    timeout BIGINT NOT NULL,
    max_retries BIGINT NOT NULL,
    max_concurrent BIGINT,
    rate_limit BIGINT,
    is_active BOOLEAN NOT NULL,
    custom_path TEXT,
    config TEXT,
    UNIQUE (provider_id, api_format)
);

CREATE TABLE provider_api_keys (
    id UUID PRIMARY KEY,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    endpoint_id UUID NOT NULL REFERENCES provider_endpoints (id) ON DELETE CASCADE,
    api_key BYTEA NOT NULL,
    name TEXT NOT NULL,
    note TEXT,
    rate_multiplier BIGINT NOT NULL,
    internal_priority BIGINT NOT NULL,
    global_priority BIGINT,
    max_concurrent BIGINT,
    rate_limit BIGINT,
    daily_limit BIGINT,
    monthly_limit BIGINT,
    allowed_models TEXT,
    capabilities TEXT,
    cache_ttl_minutes BIGINT NOT NULL,
    max_probe_interval_minutes BIGINT NOT NULL,
    request_count BIGINT NOT NULL DEFAULT 0,
    success_count BIGINT NOT NULL DEFAULT 0,
    error_count BIGINT NOT NULL DEFAULT 0,
    total_response_time_ms BIGINT NOT NULL DEFAULT 0,
    last_used_at BIGINT,
    last_error_at BIGINT,
    last_error_msg TEXT,
    is_active BOOLEAN NOT NULL,
    expires_at BIGINT
);
CREATE INDEX provider_api_keys_endpoint ON provider_api_keys (endpoint_id);

CREATE TABLE global_models (
    id UUID PRIMARY KEY,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    name TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    default_price_per_request BIGINT,
    default_tiered_pricing TEXT,
    is_free BOOLEAN NOT NULL,
    supported_capabilities TEXT,
    config TEXT,
    is_active BOOLEAN NOT NULL,
    usage_count BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE models (
    id UUID PRIMARY KEY,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    provider_id UUID NOT NULL REFERENCES providers (id) ON DELETE CASCADE,
    global_model_id UUID NOT NULL REFERENCES global_models (id),
    provider_model_name TEXT NOT NULL,
    provider_model_aliases TEXT,
    price_per_request BIGINT,
    tiered_pricing TEXT,
    is_free BOOLEAN NOT NULL,
    supports_vision BOOLEAN,
    supports_function_calling BOOLEAN,
    supports_streaming BOOLEAN,
    supports_extended_thinking BOOLEAN,
    supports_image_generation BOOLEAN,
    is_active BOOLEAN NOT NULL,
    is_available BOOLEAN NOT NULL,
    UNIQUE (provider_id, provider_model_name),
    UNIQUE (provider_id, global_model_id)
);
CREATE INDEX models_global ON models (global_model_id);

-- Every price that was ever in force; `row_id` is a global model's or a model's, and may be gone.
CREATE TABLE price_versions (
    id UUID PRIMARY KEY,
    created_at BIGINT NOT NULL,
    row_table TEXT NOT NULL,
    row_id UUID NOT NULL,
    price_per_request BIGINT,
    tiered_pricing TEXT,
    is_free BOOLEAN NOT NULL,
    effective_from BIGINT NOT NULL,
    actor_id UUID,
    source TEXT NOT NULL
);
CREATE INDEX price_versions_row ON price_versions (row_id, effective_from);

CREATE TABLE system_configs (
    id UUID PRIMARY KEY,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    key TEXT NOT NULL UNIQUE,
    value TEXT NOT NULL
);

-- Record tables: no foreign keys, kept when what they name is deleted. On SQLite rows lie in the key's own tree.
CREATE TABLE usage (
    request_id UUID NOT NULL,
    client_request_id TEXT,
    user_id UUID,
    api_key_id UUID NOT NULL,
    provider TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL,
    global_model_id UUID,
    target_model TEXT,
    provider_id UUID,
    provider_endpoint_id UUID,
    provider_api_key_id UUID,
    input_tokens BIGINT NOT NULL DEFAULT 0,
    output_tokens BIGINT NOT NULL DEFAULT 0,
    cache_creation_input_tokens BIGINT NOT NULL DEFAULT 0,
    cache_read_input_tokens BIGINT NOT NULL DEFAULT 0,
    total_tokens BIGINT NOT NULL DEFAULT 0,
    cache_creation_5m_tokens BIGINT NOT NULL DEFAULT 0,
    cache_creation_1h_tokens BIGINT NOT NULL DEFAULT 0,
    reasoning_tokens BIGINT NOT NULL DEFAULT 0,
    input_cost_usd BIGINT NOT NULL DEFAULT 0,
    output_cost_usd BIGINT NOT NULL DEFAULT 0,
    cache_creation_cost_usd BIGINT NOT NULL DEFAULT 0,
    cache_read_cost_usd BIGINT NOT NULL DEFAULT 0,
    request_cost_usd BIGINT NOT NULL DEFAULT 0,
    total_cost_usd BIGINT NOT NULL DEFAULT 0,
    actual_input_cost_usd BIGINT NOT NULL DEFAULT 0,
    actual_output_cost_usd BIGINT NOT NULL DEFAULT 0,
    actual_cache_creation_cost_usd BIGINT NOT NULL DEFAULT 0,
    actual_cache_read_cost_usd BIGINT NOT NULL DEFAULT 0,
    actual_request_cost_usd BIGINT NOT NULL DEFAULT 0,
    actual_total_cost_usd BIGINT NOT NULL DEFAULT 0,
    cache_cost_usd BIGINT NOT NULL DEFAULT 0,
    rate_multiplier BIGINT NOT NULL DEFAULT 1000000,
    input_price_per_1m BIGINT NOT NULL,
    output_price_per_1m BIGINT NOT NULL,
    cache_read_price_per_1m BIGINT NOT NULL,
    price_per_request BIGINT NOT NULL,
    cache_creation_price_per_1m BIGINT NOT NULL,
    cache_creation_1h_price_per_1m BIGINT NOT NULL,
    tier_index BIGINT NOT NULL,
    price_version_id UUID,
    delivered BOOLEAN NOT NULL DEFAULT FALSE,
    usage_source TEXT NOT NULL DEFAULT 'upstream',
    request_type TEXT NOT NULL DEFAULT 'chat',
    api_format TEXT NOT NULL,
    endpoint_api_format TEXT,
    is_stream BOOLEAN NOT NULL DEFAULT FALSE,
    is_converted BOOLEAN NOT NULL DEFAULT FALSE,
    status_code BIGINT,
    upstream_status_code BIGINT,
    error_type TEXT,
    error_message TEXT,
    response_time_ms BIGINT NOT NULL,
    first_byte_time_ms BIGINT,
    status TEXT NOT NULL DEFAULT 'completed',
    client_ip BIGINT,
    user_agent BIGINT,
    request_metadata BIGINT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    PRIMARY KEY (request_id)
)
-- only: sqlite
WITHOUT ROWID
-- end
-- only: postgres
PARTITION BY RANGE (request_id)
-- end
;

CREATE TABLE request_candidates (
    request_id UUID NOT NULL,
    candidate_index BIGINT NOT NULL,
    retry_index BIGINT NOT NULL DEFAULT 0,
    user_id UUID,
    api_key_id UUID NOT NULL,
    provider_id UUID NOT NULL,
    endpoint_id UUID NOT NULL,
    key_id UUID NOT NULL,
    status TEXT NOT NULL,
    skip_reason TEXT,
    is_cached BOOLEAN NOT NULL DEFAULT FALSE,
    status_code BIGINT,
    error_type TEXT,
    error_message TEXT,
    latency_ms BIGINT NOT NULL,
    queue_ms BIGINT NOT NULL,
    connect_ms BIGINT,
    first_byte_ms BIGINT,
    stream_ms BIGINT,
    concurrent_requests BIGINT NOT NULL,
    actual_cost_usd BIGINT NOT NULL DEFAULT 0,
    extra_data TEXT,
    started_at BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    PRIMARY KEY (request_id, candidate_index, retry_index)
)
-- only: sqlite
WITHOUT ROWID
-- end
-- only: postgres
PARTITION BY RANGE (request_id)
-- end
;

CREATE TABLE request_traces (
    request_id UUID NOT NULL,
    entries BYTEA NOT NULL,
    more BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (request_id)
)
-- only: sqlite
WITHOUT ROWID
-- end
-- only: postgres
PARTITION BY RANGE (request_id)
-- end
;

-- only: postgres
CREATE TABLE usage_default PARTITION OF usage DEFAULT;
CREATE TABLE request_candidates_default PARTITION OF request_candidates DEFAULT;
CREATE TABLE request_traces_default PARTITION OF request_traces DEFAULT;
-- end

-- Texts that many usage rows share: addresses, user agents, metadata. The id is made from the text's SHA-256.
CREATE TABLE usage_texts (
    id BIGINT PRIMARY KEY,
    value TEXT NOT NULL
);

-- Each node links its rows in the order of `seq`.
CREATE TABLE audit_logs (
    id UUID PRIMARY KEY,
    created_at BIGINT NOT NULL,
    node_id UUID NOT NULL,
    seq BIGINT NOT NULL,
    event_type TEXT NOT NULL,
    description TEXT NOT NULL,
    user_id UUID,
    api_key_id UUID,
    ip_address TEXT,
    user_agent TEXT,
    request_id UUID,
    event_metadata TEXT,
    status_code BIGINT,
    error_message TEXT,
    prev_hash BYTEA NOT NULL,
    hash BYTEA NOT NULL,
    UNIQUE (node_id, seq)
);
CREATE INDEX audit_logs_time ON audit_logs (created_at);

CREATE TABLE change_feed (
    revision BIGINT PRIMARY KEY,
    created_at BIGINT NOT NULL,
    table_name TEXT NOT NULL,
    row_id UUID NOT NULL
);

CREATE TABLE nodes (
    id UUID PRIMARY KEY,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    lease_until BIGINT NOT NULL
);

CREATE TABLE journal_marks (
    node_id UUID NOT NULL,
    epoch BIGINT NOT NULL,
    segment BIGINT NOT NULL,
    shipped_offset BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (node_id, epoch)
);

CREATE TABLE tombstones (
    id UUID PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    deleted_at BIGINT NOT NULL
);
