//! Every account's money in this process: what the database has, what is on its way there, and what is held.
//!
//! A hold lives beside the balance, never inside it, and ends once: settled with the request's cost, or released.

use super::{Mark, Sizing, size::Output};
use crate::{
    catalog::{Budget, Catalog, ClientKey, Provider},
    ids::{BuildIdHasher, ClientKeyId, IdMap, ProviderId, UserId},
    money::NanoUsd,
    records::Account,
};
use std::{
    hash::BuildHasher as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

/// Locks among which the accounts are divided.
const SHARDS: usize = 16;

/// The accounts of one process.
#[derive(Debug)]
pub struct Ledger {
    /// The newest snapshot: it says what a key spends from, and what the database had.
    latest: RwLock<Arc<Catalog>>,
    shards: [Mutex<IdMap<Account, Balance>>; SHARDS],
    /// Providers with a quota: what they have cost in their period.
    providers: Mutex<IdMap<ProviderId, Balance>>,
    held: AtomicI64,
    excess: AtomicU64,
}

/// One account. What is settled is `shipped + unshipped`.
#[derive(Debug, Clone, Copy, Default)]
struct Balance {
    /// The database's sum.
    shipped: NanoUsd,
    /// How far the database was when it had that sum.
    mark: Mark,
    /// Settled here and not in that sum yet.
    unshipped: NanoUsd,
    held: NanoUsd,
}

/// What an account has spent, and what may yet be spent for requests in flight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Of requests that have ended.
    pub settled: NanoUsd,
    /// For those that have not.
    pub held: NanoUsd,
}

/// Costs that one transaction has brought to the database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shipped {
    /// List cost, by who pays.
    pub accounts: Vec<(Account, NanoUsd)>,
    /// Actual cost, by who was paid.
    pub providers: Vec<(ProviderId, NanoUsd)>,
}

/// The account cannot pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    /// What is neither spent nor held; nothing past a period's end.
    pub left: NanoUsd,
    /// The least that the request needs.
    pub needed: NanoUsd,
}

/// Money reserved for one request. Dropping it releases what was not settled.
#[derive(Debug, Default)]
pub struct Hold {
    open: Option<(Arc<Ledger>, Account)>,
    amount: NanoUsd,
    is_limited: bool,
    lowered_to: Option<u64>,
}

impl Ledger {
    /// Accounts as this snapshot has them, nothing held.
    pub fn new(first: Arc<Catalog>) -> Self {
        Self {
            latest: RwLock::new(first),
            shards: std::array::from_fn(|_| Mutex::default()),
            providers: Mutex::default(),
            held: AtomicI64::new(0),
            excess: AtomicU64::new(0),
        }
    }

    /// Reserves what a request of this key may cost: check and reservation are one step.
    ///
    /// What does not fit is lowered to what does, as far as `sizing` allows. An account without a limit holds nothing, and
    /// `sizing` is not asked for. `now_us` is Unix time.
    ///
    /// # Errors
    /// [`Short`] when not even the least maximum can be paid for.
    pub fn hold(
        self: &Arc<Self>,
        key: &ClientKey,
        now_us: i64,
        sizing: impl FnOnce() -> Sizing,
    ) -> Result<Hold, Short> {
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        // A key that was deleted a moment ago pays from where it did.
        let current = latest.client_keys.get(&key.id).map_or(key, |key| key);
        let Some(budget) = latest.budget(current) else { return Ok(Hold::default()) };
        let mut hold = Hold { open: Some((self.clone(), budget.account)), ..Hold::default() };
        let Some(limit) = budget.limit else { return Ok(hold) };
        hold.is_limited = true;
        let sizing = sizing();
        let Output { maximum, least, .. } = sizing.output;
        let full = sizing.cost(maximum);
        let mut balances = self.balances(budget.account);
        let balance = balances.entry(budget.account).or_insert_with(|| Balance::of(&latest, budget.account));
        let over = budget.ends_at.is_some_and(|end| end <= now_us);
        let left = if over { NanoUsd::ZERO } else { balance.left(limit) };
        let wanted = if over || left < NanoUsd::ZERO {
            None
        } else if full <= left {
            Some((maximum, full))
        } else {
            sizing.fitting(left)
        };
        let Some((granted, amount)) = wanted else {
            hold.open = None;
            return Err(Short { left, needed: sizing.cost(least) });
        };
        balance.held = balance.held + amount;
        hold.amount = amount;
        hold.lowered_to = (granted < maximum).then_some(granted);
        self.held.fetch_add(amount.0, Ordering::Relaxed);
        Ok(hold)
    }

    /// Holds an amount without a request, while it is taken out of the account's limit elsewhere.
    ///
    /// # Errors
    /// [`Short`] when requests in flight hold it, or it is spent.
    pub fn set_aside(self: &Arc<Self>, account: Account, amount: NanoUsd) -> Result<Hold, Short> {
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        let limit = budget_of(&latest, account).and_then(|budget| budget.limit);
        let Some(limit) = limit else { return Ok(Hold::default()) };
        let mut balances = self.balances(account);
        let balance = balances.entry(account).or_insert_with(|| Balance::of(&latest, account));
        let left = balance.left(limit);
        if amount > left {
            return Err(Short { left, needed: amount });
        }
        balance.held = balance.held + amount;
        self.held.fetch_add(amount.0, Ordering::Relaxed);
        Ok(Hold { open: Some((self.clone(), account)), amount, is_limited: true, lowered_to: None })
    }

    /// Adds to what an account has settled, or takes from it: a settlement was replaced by another.
    pub fn correct(&self, account: Account, difference: NanoUsd) {
        self.change(account, |balance| balance.unshipped = balance.unshipped + difference);
    }

    /// Counts what a provider with a quota has cost the operator, or takes it back.
    pub fn spend(&self, provider: &Provider, actual: NanoUsd) {
        if provider.quota.is_none() || actual == NanoUsd::ZERO {
            return;
        }
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        let of = || {
            let quota = latest.provider(provider.id).and_then(|provider| provider.quota);
            let shipped = quota.map(|quota| quota.spent).unwrap_or_default();
            Balance { shipped, mark: latest.shipped, ..Balance::default() }
        };
        let mut providers = lock(&self.providers);
        let balance = providers.entry(provider.id).or_insert_with(of);
        balance.unshipped = balance.unshipped + actual;
    }

    /// Whether a provider's quota is spent.
    pub fn is_spent(&self, provider: &Provider) -> bool {
        let Some(quota) = provider.quota else { return false };
        let known = lock(&self.providers).get(&provider.id).map(Balance::settled);
        known.unwrap_or(quota.spent) >= quota.limit
    }

    /// These costs are in the database's sums now, as is everything before `mark`.
    ///
    /// Not to be called while a snapshot is on its way from the database to [`Ledger::rebase`].
    pub fn shipped(&self, mark: Mark, costs: &Shipped) {
        for (account, cost) in &costs.accounts {
            // What another process recorded, or an earlier one, is only in the database's sums.
            if let Some(balance) = self.balances(*account).get_mut(account) {
                balance.ship(mark, *cost);
            }
        }
        for (provider, cost) in &costs.providers {
            if let Some(balance) = lock(&self.providers).get_mut(provider) {
                balance.ship(mark, *cost);
            }
        }
    }

    /// Takes over limits and sums from a newer snapshot.
    pub fn rebase(&self, next: &Arc<Catalog>) {
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        for shard in &self.shards {
            lock(shard).retain(|account, balance| {
                let budget = budget_of(next, *account);
                if let Some(budget) = budget {
                    (balance.shipped, balance.mark) = (budget.spent, next.shipped);
                }
                // An idle account is made again from the snapshot; a period that is closed is not asked for any more.
                balance.held != NanoUsd::ZERO || balance.unshipped != NanoUsd::ZERO
            });
        }
        lock(&self.providers).retain(|id, balance| {
            let Some(quota) = next.provider(*id).and_then(|provider| provider.quota) else { return false };
            (balance.shipped, balance.mark) = (quota.spent, next.shipped);
            true
        });
        *latest = next.clone();
    }

    /// Where an account stands at this instant, as far as this process knows.
    pub fn standing(&self, account: Account) -> Standing {
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        let balance = self.balances(account).get(&account).copied();
        let balance = balance.unwrap_or_else(|| Balance::of(&latest, account));
        Standing { settled: balance.settled(), held: balance.held }
    }

    /// What is held for all requests in flight.
    pub fn held(&self) -> NanoUsd {
        NanoUsd(self.held.load(Ordering::Relaxed))
    }

    /// By how much settlements have exceeded their holds: usage that was reported above its bounds.
    pub fn excess(&self) -> u64 {
        self.excess.load(Ordering::Relaxed)
    }

    fn balances(&self, account: Account) -> MutexGuard<'_, IdMap<Account, Balance>> {
        // Neither the first nor the last bits, which find the place within a shard.
        let bits = BuildIdHasher::default().hash_one(account).to_le_bytes()[4];
        lock(&self.shards[usize::from(bits) % SHARDS])
    }

    fn change(&self, account: Account, change: impl FnOnce(&mut Balance)) {
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        change(self.balances(account).entry(account).or_insert_with(|| Balance::of(&latest, account)));
    }

    fn end(&self, account: Account, held: NanoUsd, cost: NanoUsd) {
        self.change(account, |balance| {
            balance.held = NanoUsd(balance.held.0.saturating_sub(held.0));
            balance.unshipped = balance.unshipped + cost;
        });
        self.held.fetch_sub(held.0, Ordering::Relaxed);
    }
}

impl Balance {
    /// As a snapshot has it; of a period that is not open any more nothing is known, and nothing is asked.
    fn of(latest: &Catalog, account: Account) -> Self {
        let shipped = budget_of(latest, account).map(|budget| budget.spent).unwrap_or_default();
        Self { shipped, mark: latest.shipped, ..Self::default() }
    }

    fn settled(&self) -> NanoUsd {
        self.shipped + self.unshipped
    }

    /// A cost has come to the database; a snapshot that was read since has it already.
    fn ship(&mut self, mark: Mark, cost: NanoUsd) {
        self.unshipped = NanoUsd(self.unshipped.0.saturating_sub(cost.0));
        if mark > self.mark {
            self.shipped = self.shipped + cost;
        }
    }

    /// What may still be held; negative when more is spent than may be.
    fn left(&self, limit: NanoUsd) -> NanoUsd {
        NanoUsd(limit.0.saturating_sub((self.settled() + self.held).0))
    }
}

impl Hold {
    /// Who pays, limited or not; `None` where nothing can be owed.
    pub fn account(&self) -> Option<Account> {
        self.open.as_ref().map(|(_, account)| *account)
    }

    /// How much.
    pub fn amount(&self) -> NanoUsd {
        self.amount
    }

    /// Whether the account has a limit, so that the request must stay within its bounds.
    pub fn is_limited(&self) -> bool {
        self.is_limited
    }

    /// The maximum that the request has to be lowered to, so that the account can pay.
    pub fn lowered_to(&self) -> Option<u64> {
        self.lowered_to
    }

    /// Ends it with what the request cost, which the account then has spent.
    pub fn settle(mut self, cost: NanoUsd) {
        let Some((ledger, account)) = self.open.take() else { return };
        if self.is_limited && cost > self.amount {
            let excess = u64::try_from(cost.0.saturating_sub(self.amount.0)).unwrap_or(0);
            ledger.excess.fetch_add(excess, Ordering::Relaxed);
        }
        ledger.end(account, self.amount, cost);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some((ledger, account)) = self.open.take() {
            ledger.end(account, self.amount, NanoUsd::ZERO);
        }
    }
}

/// What a snapshot says of an account; `None` of a period that is not open any more.
fn budget_of(catalog: &Catalog, account: Account) -> Option<&Budget> {
    let of_user = |user: UserId| catalog.users.get(&user).map(|user| &user.quota);
    let of_key = |key: ClientKeyId| catalog.client_keys.get(&key)?.balance.as_ref();
    let budget = match account {
        Account::Quota(user, _) | Account::User(user) => of_user(user),
        Account::Key(key) => of_key(key),
    };
    budget.filter(|budget| budget.account == account)
}

/// A panic under one of these locks leaves plain numbers behind, which are still right.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
