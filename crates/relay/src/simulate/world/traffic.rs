//! The traffic of a scenario as events, and the accounts that it meets.

use super::{Caller, Event, Request, S, START_US, World};
use crate::{
    health::shown,
    simulate::{
        Chance,
        report::KeyReport,
        scenario::{Behaviour, Kind, Traffic, UnknownName},
        upstream::{Account, Ask},
    },
};
use domain::{catalog::Route, format::ApiFormat};

impl<'c> World<'c> {
    pub(super) fn schedule_traffic(&mut self) -> Result<(), UnknownName> {
        for (flow, traffic) in self.scenario.traffic.iter().enumerate() {
            for session in 0..traffic.sessions {
                let conversation = conversation(flow as u64 + 1, u64::from(session));
                let caller = self.caller(&traffic.client, &traffic.model, traffic.format, conversation)?;
                let request = Request { caller, ask: turn(traffic, 0, conversation), flow: Some(flow), turn: 0 };
                let pause_us = i64::from(traffic.think_ms) * 1_000;
                let stagger_us = self.chance.around(pause_us) * i64::from(session) / i64::from(traffic.sessions);
                self.at(START_US + i64::from(traffic.start_s) * S + stagger_us, Event::Arrives(request));
            }
        }
        for recorded in &self.scenario.recorded {
            let conversation = conversation(0, recorded.session);
            let caller = self.caller(&recorded.client, &recorded.model, recorded.format, conversation)?;
            let ask = Ask {
                conversation,
                kind: Kind::Good,
                prompt_tokens: recorded.prompt_tokens,
                output_tokens: recorded.output_tokens,
            };
            let after_us = i64::try_from(recorded.at_ms).unwrap_or(i64::MAX / 1_000).saturating_mul(1_000);
            let request = Request { caller, ask, flow: None, turn: 0 };
            self.at(START_US.saturating_add(after_us), Event::Arrives(request));
        }
        Ok(())
    }

    fn caller(
        &mut self,
        client: &str,
        model: &str,
        format: ApiFormat,
        conversation: u64,
    ) -> Result<Caller<'c>, UnknownName> {
        let unknown = |what, name: &str| UnknownName { what, name: name.to_owned() };
        let named = self.catalog.client_keys.values().filter(|key| key.name == client);
        let key = named.min_by_key(|key| key.id).ok_or_else(|| unknown("client key", client))?;
        let mut models = self.catalog.global_models.values().filter(|found| found.is_active);
        let model = models.find(|found| found.name == model).ok_or_else(|| unknown("global model", model))?;
        for route in self.catalog.routes(model.id) {
            self.know(route);
        }
        Ok(Caller { key, model, format, conversation })
    }

    fn know(&mut self, route: &Route) {
        if self.keys.contains_key(&route.key.id) {
            return;
        }
        let is_for = |behaviour: &&Behaviour| {
            behaviour.provider.as_ref().is_none_or(|name| *name == route.provider.name)
                && behaviour.key.as_ref().is_none_or(|name| *name == route.key.name)
        };
        let behaviour = self.scenario.upstream.iter().rev().find(is_for).cloned().unwrap_or_default();
        self.accounts.insert(route.key.id, Account::new(behaviour));
        let report = KeyReport {
            id: route.key.id,
            name: shown(route),
            attempts: Vec::new(),
            limited: 0,
            peak: 0,
            learned: None,
            openings: 0,
            health_millis: 1_000,
        };
        self.keys.insert(route.key.id, report);
    }
}

/// A conversation's number, spread over all of `u64`.
fn conversation(flow: u64, session: u64) -> u64 {
    Chance(flow << 40 ^ session).next()
}

pub(super) fn turn(traffic: &Traffic, number: u32, conversation: u64) -> Ask {
    let grown = u64::from(number) * (traffic.grows_by + traffic.output_tokens);
    Ask {
        conversation,
        kind: traffic.kind,
        prompt_tokens: traffic.prompt_tokens + grown,
        output_tokens: traffic.output_tokens,
    }
}
