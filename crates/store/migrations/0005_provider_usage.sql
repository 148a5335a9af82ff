-- Attempts of a provider in windows of five minutes each. Kept when the provider is deleted.
CREATE TABLE provider_usage_tracking (
    provider_id UUID NOT NULL,
    window_start BIGINT NOT NULL,
    total_requests BIGINT NOT NULL,
    success_requests BIGINT NOT NULL,
    error_requests BIGINT NOT NULL,
    response_time_sum_ms BIGINT NOT NULL,
    actual_cost BIGINT NOT NULL,
    PRIMARY KEY (provider_id, window_start)
);
