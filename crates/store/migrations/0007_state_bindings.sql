-- Who issued what: ids and signatures that only the account understands which issued them, by half of their SHA-256 (in
-- the form of a UUID). Kept when a key is deleted: what it issued is still not another's.
CREATE TABLE state_bindings (
    hash UUID PRIMARY KEY,
    api_key_id UUID NOT NULL,
    provider_key_id UUID NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX state_bindings_expiry ON state_bindings (expires_at, hash);
