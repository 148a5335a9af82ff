//! Events when a quota is half spent, nearly spent and spent: each once per period, in the transaction that crosses it.

use crate::{
    db::{DbError, Tx},
    mint,
};
use domain::money::NanoUsd;
use uuid::Uuid;

/// Shares of a limit that are told of, in percent.
const THRESHOLDS: [i64; 3] = [50, 80, 100];

/// Whose quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    User(Uuid),
    Provider(Uuid),
}

/// A threshold that was reached for the first time in its period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alert {
    pub(super) subject: Subject,
    pub(super) threshold: i64,
    pub(super) used: NanoUsd,
    pub(super) limit: NanoUsd,
}

/// How far a quota is after `cost` was added to it.
#[derive(Debug, Clone)]
pub(super) struct Level {
    pub(super) subject: Subject,
    /// Names the period, so that the next one alerts again.
    pub(super) period: String,
    pub(super) cost: i64,
    pub(super) used: i64,
    pub(super) limit: i64,
}

impl Level {
    /// The thresholds that lie between what was used before and what is used now.
    fn crossed(&self) -> impl Iterator<Item = i64> {
        let reaches = |used: i64, threshold: i64| {
            i128::from(used) * 100 >= i128::from(self.limit) * i128::from(threshold) && self.limit > 0
        };
        let before = self.used.saturating_sub(self.cost);
        THRESHOLDS.into_iter().filter(move |threshold| reaches(self.used, *threshold) && !reaches(before, *threshold))
    }

    /// Writes what was reached for the first time, and hands it back.
    pub(super) async fn raise(&self, tx: &mut Tx) -> Result<Vec<Alert>, DbError> {
        const RAISE: &str = "INSERT INTO notifications \
                             (id, created_at, kind, subject_id, period, threshold, used_usd, limit_usd) \
                             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
                             ON CONFLICT (kind, subject_id, period, threshold) DO NOTHING";
        let (kind, subject) = match self.subject {
            Subject::User(id) => ("quota", id),
            Subject::Provider(id) => ("provider_quota", id),
        };
        let mut raised = Vec::new();
        for threshold in self.crossed() {
            let values = vec![
                mint::<Uuid>().into(),
                tx.now_us().into(),
                kind.into(),
                subject.into(),
                self.period.as_str().into(),
                threshold.into(),
                self.used.into(),
                self.limit.into(),
            ];
            if tx.run(RAISE, values).await? > 0 {
                let (used, limit) = (NanoUsd(self.used), NanoUsd(self.limit));
                raised.push(Alert { subject: self.subject, threshold, used, limit });
            }
        }
        Ok(raised)
    }
}

impl Alert {
    /// Says it; called once the transaction has come through.
    pub(super) fn tell(&self) {
        let Self { subject, threshold, used, limit } = self;
        match subject {
            Subject::User(id) => tracing::warn!(
                user.id = %id.hyphenated(), threshold, used_usd = %used, limit_usd = %limit,
                "a user has spent {threshold} % of the quota"
            ),
            Subject::Provider(id) => tracing::warn!(
                provider.id = %id.hyphenated(), threshold, used_usd = %used, limit_usd = %limit,
                "a provider's monthly quota is spent to {threshold} %"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_crossed_by_the_cost_that_reaches_it() {
        let crossed = |before: i64, cost: i64, limit: i64| {
            let subject = Subject::User(Uuid::nil());
            let level = Level { subject, period: String::new(), cost, used: before + cost, limit };
            level.crossed().collect::<Vec<_>>()
        };
        for (before, cost, limit, want) in [
            (0, 49, 100, &[][..]),
            (0, 50, 100, &[50]),
            (50, 29, 100, &[]),
            (50, 30, 100, &[80]),
            (10, 95, 100, &[50, 80, 100]),
            (100, 5, 100, &[]),
            (60, -20, 100, &[]), // a settlement was replaced by a smaller one
            (0, 5, 0, &[]),      // a quota of nothing is no news
            (0, i64::MAX, i64::MAX, &[50, 80, 100]),
        ] {
            assert_eq!(crossed(before, cost, limit), want, "{before} + {cost} of {limit}");
        }
    }
}
