//! How the process does, for health, readiness and the status page.

use crate::{jobs::Health, listen::Traffic, telemetry};
use admin::http::{Figures, JournalFigures, Readiness, Status};
use domain::ports::{Clock, Directory as _};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use store::{Published, journal::Journal};

/// What is looked at.
pub(crate) struct Process {
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) published: Arc<Published>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) health: Arc<Health>,
}

impl Status for Process {
    fn readiness(&self) -> Readiness {
        if !self.journal.stats().writable {
            return Readiness::Unready(vec!["the journal cannot write; new requests are refused".to_owned()]);
        }
        let reasons = self.health.reasons();
        if reasons.is_empty() { Readiness::Ready } else { Readiness::Degraded(reasons) }
    }

    fn figures(&self) -> Figures {
        let catalog = self.published.catalog();
        let [global_models, providers, provider_keys, users, client_keys] =
            telemetry::counts(&catalog).map(|(_, count)| count);
        let stats = self.journal.stats();
        Figures {
            listen: self.listen.iter().map(SocketAddr::to_string).collect(),
            uptime: Duration::from_micros(self.clock.monotonic_us()),
            revision: catalog.revision,
            global_models,
            providers,
            provider_keys,
            users,
            client_keys,
            open_requests: self.traffic.open(),
            requests: self.traffic.ended(),
            journal: JournalFigures { segments: stats.segments, bytes: stats.bytes, unshipped: stats.unshipped },
        }
    }
}
