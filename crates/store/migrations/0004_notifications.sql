-- What somebody should be told, once each: a subject, the period that it belongs to, and the threshold that was reached.
CREATE TABLE notifications (
    id UUID PRIMARY KEY,
    created_at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    subject_id UUID NOT NULL,
    period TEXT NOT NULL,
    threshold BIGINT NOT NULL,
    used_usd BIGINT NOT NULL,
    limit_usd BIGINT NOT NULL,
    UNIQUE (kind, subject_id, period, threshold)
);
