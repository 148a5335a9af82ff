//! The settings that this version enforces.

use super::{
    Patch, Place,
    read::Reader,
    tree::Node,
    values::{boolean, decimal, integer, limit, name, text},
};
use domain::{
    catalog::PriceDefaults,
    format::{ConversionLoss, OnDisconnect, PriorityMode, SchedulingMode},
};

/// Changed settings; null goes back to the default.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the fields are those of the document")]
pub struct SettingsDoc {
    /// Where they stand.
    pub at: Place,
    pub timezone: Patch<String>,
    pub provider_priority_mode: Patch<PriorityMode>,
    pub scheduling_mode: Patch<SchedulingMode>,
    pub on_disconnect: Patch<OnDisconnect>,
    pub conversion_loss: Patch<ConversionLoss>,
    pub image_token_estimate: Patch<u64>,
    pub price_defaults: Patch<PriceDefaults>,
    pub default_rate_limit: Patch<u32>,
    pub auto_delete_expired_keys: Patch<bool>,
}

impl SettingsDoc {
    pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Option<Self> {
        let mut fields = reader.fields(node)?;
        let doc = Self {
            at: fields.place(),
            timezone: fields.patch("timezone", timezone),
            provider_priority_mode: fields.patch("provider_priority_mode", name),
            scheduling_mode: fields.patch("scheduling_mode", name),
            on_disconnect: fields.patch("on_disconnect", name),
            conversion_loss: fields.patch("conversion_loss", name),
            image_token_estimate: fields.patch("image_token_estimate", integer(0..=1_000_000)),
            price_defaults: fields.patch_with("price_defaults", price_defaults),
            default_rate_limit: fields.patch("default_rate_limit", limit),
            auto_delete_expired_keys: fields.patch("auto_delete_expired_keys", boolean),
        };
        fields.finish();
        Some(doc)
    }
}

fn timezone(node: &Node) -> Result<String, String> {
    let name = text(100)(node)?;
    jiff::tz::TimeZone::get(&name)
        .map_err(|_| "is no time zone known here; expected one such as Europe/Berlin".to_owned())?;
    Ok(name)
}

fn price_defaults(reader: &mut Reader<'_>, node: &Node) -> Option<PriceDefaults> {
    let mut fields = reader.fields(node)?;
    let defaults = PriceDefaults::default();
    let factors = PriceDefaults {
        write_5m: fields.keep("write_5m", decimal).unwrap_or(defaults.write_5m),
        write_1h: fields.keep("write_1h", decimal).unwrap_or(defaults.write_1h),
        read: fields.keep("read", decimal).unwrap_or(defaults.read),
    };
    fields.finish();
    Some(factors)
}
