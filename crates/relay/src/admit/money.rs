//! The hold: money reserved for a request before it is sent.
//!
//! In this version no account is limited, so a hold is of nothing.

use crate::call::Call;
use domain::{fault::Fault, ledger::Hold, schedule::Eligible};

#[allow(clippy::unnecessary_wraps, reason = "an account with a limit may not be able to pay")]
/// Holds what the request may cost at the dearest eligible price.
pub(crate) fn hold(_call: &Call, _eligible: &Eligible<'_>) -> Result<Hold, Fault> {
    Ok(Hold::default())
}
