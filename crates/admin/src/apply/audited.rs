//! The audit log's view of a change.

use super::report::{Action, Change};
use serde_json::{Map, Value, json};
use store::repo::audit::Event;

/// Something that a command did: who gave it is not known, the event names no actor.
pub(crate) fn event(event_type: &'static str, description: String, metadata: Value) -> Event {
    Event {
        id: store::mint(),
        event_type,
        description,
        user_id: None,
        api_key_id: None,
        ip_address: None,
        user_agent: None,
        request_id: None,
        metadata,
        status_code: None,
        error_message: None,
    }
}

impl Change {
    pub(super) fn event(&self) -> Event {
        let before = self.fields.iter().filter_map(|field| Some((field.name.clone(), field.before.clone()?)));
        let after = self.fields.iter().map(|field| (field.name.clone(), field.after.clone()));
        let object = |fields: Map<String, Value>| if fields.is_empty() { Value::Null } else { Value::Object(fields) };
        let before = object(before.map(|(name, value)| (name, value.into())).collect());
        let after = object(after.map(|(name, value)| (name, value.into())).collect());
        let verb = match self.action {
            Action::Created => "created",
            Action::Updated => "updated",
            Action::Deleted => "deleted",
        };
        let metadata = json!({ "kind": self.kind, "name": self.name, "before": before, "after": after });
        event(self.event_type(), format!("{} {} {verb} by a document", self.kind, self.name), metadata)
    }

    fn event_type(&self) -> &'static str {
        match (self.kind, self.action) {
            ("provider", Action::Created) => "provider_added",
            ("provider", Action::Deleted) => "provider_removed",
            ("provider" | "endpoint" | "provider_key", _) => "provider_updated",
            ("global_model" | "model", Action::Created) => "model_added",
            ("global_model" | "model", Action::Updated) => "model_updated",
            ("global_model" | "model", Action::Deleted) => "model_removed",
            ("user", Action::Created) => "user_created",
            ("user", Action::Updated) => "user_updated",
            ("user", Action::Deleted) => "user_deleted",
            ("api_key", Action::Created) => "api_key_created",
            ("api_key", Action::Updated) => "api_key_updated",
            ("api_key", Action::Deleted) => "api_key_deleted",
            _ => "config_changed",
        }
    }
}
