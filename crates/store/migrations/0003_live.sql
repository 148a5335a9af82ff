-- What is known of providers and their keys while they serve, kept across restarts; and what comes due.

-- The provider's fixed minute: attempts since it began, and when it ends.
ALTER TABLE providers ADD COLUMN rpm_used BIGINT NOT NULL DEFAULT 0;
ALTER TABLE providers ADD COLUMN rpm_reset_at BIGINT;

-- A key's learned limit, its health in millionths, and its breaker.
ALTER TABLE provider_api_keys ADD COLUMN learned_max_concurrent BIGINT;
ALTER TABLE provider_api_keys ADD COLUMN concurrent_429_count BIGINT NOT NULL DEFAULT 0;
ALTER TABLE provider_api_keys ADD COLUMN rpm_429_count BIGINT NOT NULL DEFAULT 0;
ALTER TABLE provider_api_keys ADD COLUMN last_429_at BIGINT;
ALTER TABLE provider_api_keys ADD COLUMN last_429_type TEXT;
ALTER TABLE provider_api_keys ADD COLUMN last_concurrent_peak BIGINT;
ALTER TABLE provider_api_keys ADD COLUMN adjustment_history TEXT;
ALTER TABLE provider_api_keys ADD COLUMN utilization_samples TEXT;
ALTER TABLE provider_api_keys ADD COLUMN last_probe_increase_at BIGINT;
ALTER TABLE provider_api_keys ADD COLUMN health_score BIGINT NOT NULL DEFAULT 1000000;
ALTER TABLE provider_api_keys ADD COLUMN consecutive_failures BIGINT NOT NULL DEFAULT 0;
ALTER TABLE provider_api_keys ADD COLUMN last_failure_at BIGINT;
ALTER TABLE provider_api_keys ADD COLUMN request_results_window TEXT;
ALTER TABLE provider_api_keys ADD COLUMN circuit_breaker_open BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE provider_api_keys ADD COLUMN circuit_breaker_open_at BIGINT;
ALTER TABLE provider_api_keys ADD COLUMN circuit_breaker_trips BIGINT NOT NULL DEFAULT 0;
ALTER TABLE provider_api_keys ADD COLUMN next_probe_at BIGINT;
ALTER TABLE provider_api_keys ADD COLUMN half_open_until BIGINT;
ALTER TABLE provider_api_keys ADD COLUMN half_open_successes BIGINT NOT NULL DEFAULT 0;
ALTER TABLE provider_api_keys ADD COLUMN half_open_failures BIGINT NOT NULL DEFAULT 0;

-- Attempts of a provider key per business day and month; each node adds its own.
CREATE TABLE limit_windows (
    provider_key_id UUID NOT NULL REFERENCES provider_api_keys (id) ON DELETE CASCADE,
    period TEXT NOT NULL,
    period_start BIGINT NOT NULL,
    period_end BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    PRIMARY KEY (provider_key_id, period, period_start)
);

-- Looked at every second.
CREATE INDEX user_quotas_due ON user_quotas (period_end) WHERE is_active;
CREATE INDEX api_keys_expiry ON api_keys (expires_at) WHERE expires_at IS NOT NULL;
