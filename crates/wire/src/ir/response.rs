//! A whole answer.

use super::{Extra, Json, Kind, Part};
use crate::{Wire, loss::Loss, usage::Usage};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Response {
    pub(crate) id: Option<String>,
    pub(crate) model: Option<String>,
    /// Seconds since 1970.
    pub(crate) created: Option<u64>,
    pub(crate) parts: Vec<Part>,
    pub(crate) finish: Finish,
    /// The stop sequence that was met (Anthropic).
    pub(crate) stop: Option<String>,
    pub(crate) usage: Usage,
    /// The source's own usage object.
    pub(crate) usage_object: Json,
    /// The source's own words for the end, as they stood.
    pub(crate) finish_words: Json,
    /// What only its wire knows of the choice or candidate that is carried.
    pub(crate) inner: Option<Box<Extra>>,
    /// Further choices or candidates.
    pub(crate) others: Vec<Json>,
    pub(crate) extra: Extra,
}

impl Response {
    /// Reports the choices that are not carried.
    pub(crate) fn lose_others(&self, loss: &mut Loss) {
        let list = if self.extra.wire == Wire::Gemini { "/candidates" } else { "/choices" };
        for at in 1..=self.others.len() {
            loss.add(format!("{list}/{at}"), "a converted answer is one candidate");
        }
    }

    /// Why it ended, decided by the content where upstreams differ in words.
    pub(crate) fn ending(&self) -> Finish {
        let calls = self.parts.iter().any(|part| matches!(part.kind, Kind::Call { .. }));
        self.finish.with_calls(calls)
    }
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Finish {
    #[default]
    Stop,
    ToolCalls,
    StopSequence,
    Length,
    Filter,
    /// The vendor's turn is to be continued (Anthropic).
    Pause,
    /// The model wrote a call that is none (Gemini).
    Malformed,
}

impl Finish {
    pub(crate) fn with_calls(self, calls: bool) -> Self {
        match (self, calls) {
            (Self::Stop, true) => Self::ToolCalls,
            (Self::ToolCalls, false) => Self::Stop,
            (finish, _) => finish,
        }
    }
}
