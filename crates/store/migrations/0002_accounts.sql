-- Whose money each request was, and what resets have taken out of counters: every counter follows from rows.

-- The period that a request was charged to; null for a balance, and for a user without period.
ALTER TABLE usage ADD COLUMN quota_id UUID;
-- It was paid out of the key's own balance.
ALTER TABLE usage ADD COLUMN from_balance BOOLEAN NOT NULL DEFAULT FALSE;

-- Spending outside any period that a reset, or the opening of a period, has taken out of `used_usd`. While a period is
-- open it holds all of it, else `used_usd` and `forgiven_usd` together do.
ALTER TABLE users ADD COLUMN forgiven_usd BIGINT NOT NULL DEFAULT 0;

-- Actual cost of earlier quota periods: with `monthly_used_usd` it is all there ever was.
ALTER TABLE providers ADD COLUMN past_usd BIGINT NOT NULL DEFAULT 0;

-- What was granted to standalone keys, appended only. The kinds `top_up`, `deduction` and `correction` grant (a
-- deduction is negative), `charge` tells what was spent. Kept when the key is deleted.
CREATE TABLE balance_entries (
    id UUID PRIMARY KEY,
    created_at BIGINT NOT NULL,
    api_key_id UUID NOT NULL,
    kind TEXT NOT NULL,
    amount_usd BIGINT NOT NULL,
    actor_id UUID,
    note TEXT,
    idempotency_key TEXT,
    balance_after_usd BIGINT,
    UNIQUE (api_key_id, idempotency_key)
);

-- What is there already: requests name their accounts, and counters keep their sums.
UPDATE usage SET from_balance = TRUE WHERE api_key_id IN (SELECT id FROM api_keys WHERE is_standalone);
UPDATE usage SET quota_id = (
    SELECT q.id FROM user_quotas q WHERE q.user_id = usage.user_id AND q.created_at <= usage.created_at
    AND (q.is_active OR usage.created_at < q.updated_at) ORDER BY q.id LIMIT 1
) WHERE NOT from_balance;
UPDATE users SET used_usd = 0
WHERE NOT EXISTS (SELECT 1 FROM user_quotas q WHERE q.user_id = users.id AND q.is_active)
AND EXISTS (SELECT 1 FROM user_quotas q WHERE q.user_id = users.id);
UPDATE users SET forgiven_usd = (
    SELECT CAST(COALESCE(SUM(u.total_cost_usd), 0) AS BIGINT) FROM usage u
    WHERE u.user_id = users.id AND u.quota_id IS NULL AND NOT u.from_balance
);
UPDATE users SET forgiven_usd = forgiven_usd - used_usd
WHERE NOT EXISTS (SELECT 1 FROM user_quotas q WHERE q.user_id = users.id AND q.is_active);
INSERT INTO balance_entries (id, created_at, api_key_id, kind, amount_usd, balance_after_usd)
SELECT id, created_at, id, 'top_up', current_balance_usd + balance_used_usd, current_balance_usd + balance_used_usd
FROM api_keys WHERE current_balance_usd IS NOT NULL;
