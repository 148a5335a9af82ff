//! Every setting as it is written: its name, its form and what it means. `docs/configuration.md` is made of the comments here.

use serde::Deserialize;

/// What a setting is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Text, in quotes.
    Text,
    /// A whole number.
    Number,
    /// A list of texts; commas between them in the environment.
    List,
}

/// A setting's name, form and description.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// As in the file, such as `journal.sync`.
    pub(super) name: &'static str,
    /// What it is written as.
    pub(super) form: Form,
    /// The comment of its declaration, a line per line.
    pub(super) doc: &'static str,
}

impl Key {
    /// Its variable of the environment.
    pub(super) fn variable(&self) -> String {
        format!("TOLLGATE_{}", self.name.replace('.', "_").to_uppercase())
    }
}

/// A Rust type's form in the file.
trait Written {
    const FORM: Form;
}

impl Written for String {
    const FORM: Form = Form::Text;
}

impl Written for u64 {
    const FORM: Form = Form::Number;
}

impl Written for Vec<String> {
    const FORM: Form = Form::List;
}

impl<T: Written> Written for Option<T> {
    const FORM: Form = T::FORM;
}

macro_rules! settings {
    (
        $(#[$about:meta])*
        $raw:ident { $($(#[doc = $doc:literal])+ $key:ident: $type:ty,)+ }
        $(
            $(#[$section_about:meta])+
            $section:ident: $name:ident { $($(#[doc = $section_doc:literal])+ $section_key:ident: $section_type:ty,)+ }
        )+
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $raw {
            $($(#[doc = $doc])+ pub(super) $key: $type,)+
            $($(#[$section_about])+ pub(super) $section: $name,)+
        }

        $(
            $(#[$section_about])+
            #[derive(Debug, Clone, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub(super) struct $name {
                $($(#[doc = $section_doc])+ pub(super) $section_key: $section_type,)+
            }
        )+

        /// Every setting, in the order of the file.
        pub(super) const KEYS: &[Key] = &[
            $(Key {
                name: stringify!($key),
                form: <$type as Written>::FORM,
                doc: concat!($($doc, "\n",)+),
            },)+
            $($(Key {
                name: concat!(stringify!($section), ".", stringify!($section_key)),
                form: <$section_type as Written>::FORM,
                doc: concat!($($section_doc, "\n",)+),
            },)+)+
        ];
    };
}

settings! {
    /// The settings of a process as they are written; `resolve` makes checked values of them.
    Raw {
        /// Address and port of the API for clients. Health, metrics and the status page are there too, unless `admin.listen`
        /// is set.
        listen: String,
        /// Directory of the embedded database, the journal and the master key; made if it is not there, for its owner only.
        /// A relative path starts at the working directory.
        data_dir: String,
        /// Addresses and networks of the proxies in front, such as `10.0.0.0/8`. From them, and from nobody else,
        /// `x-forwarded-for` is believed: the client's address is its right-most one that is not of these networks.
        trusted_proxies: Vec<String>,
        /// Most bytes of one request's body, decoded. A larger one is refused with 413.
        max_request_bytes: u64,
        /// Most bytes of one upstream answer, decoded. A larger one is broken off.
        max_response_bytes: u64,
        /// Longest time from a request's arrival to the first byte of its answer, over all attempts, in seconds. An answer
        /// that has begun is never cut by it.
        total_timeout_s: u64,
        /// Most candidates (provider, endpoint and provider key) that one request tries.
        max_candidates: u64,
        /// What minted client keys begin with, before the hyphen.
        client_key_prefix: String,
    }

    /// The operators' listener.
    admin: Admin {
        /// A second address and port, for health in detail, metrics and the status page. Whoever reaches it sees them;
        /// `listen` then shows nobody more than one word.
        listen: Option<String>,
    }

    /// TLS for the listeners.
    tls: Tls {
        /// A file with a certificate (PEM), and after it those of the authorities between it and a root. With it and `tls.key`
        /// every listener speaks TLS and nothing else: HTTP/2 and HTTP/1.1. Both files are looked at every five seconds, and
        /// new ones are in force when two looks found the same; a pair that is not right is logged, and the old one stays.
        cert: Option<String>,
        /// The file with the certificate's private key (PEM, not encrypted).
        key: Option<String>,
    }

    /// Where catalog and books are.
    database: Database {
        /// `sqlite:PATH`, or `postgres://…` for PostgreSQL 15 or later. A secret: it is never printed. Without it,
        /// the embedded database in `data_dir`.
        url: Option<String>,
    }

    /// Which addresses are dialled.
    egress: Egress {
        /// Networks outside the public internet that upstreams may be in, such as `10.1.0.0/16`; `[]` is none. Without it,
        /// loopback if every listener is on loopback, else none. Link-local and metadata addresses are never dialled.
        allow: Option<Vec<String>>,
        /// A file with certificates (PEM) of authorities that upstreams and proxies may be certified by, beside those of the
        /// web. Read at start.
        ca: Option<String>,
    }

    /// Browsers.
    cors: Cors {
        /// Origins whose pages may call the API for clients, such as `https://chat.example.com`; `*` is every origin. Without
        /// any, no `Access-Control-Allow-*` header is sent.
        origins: Vec<String>,
    }

    /// Buffers.
    memory: Memory {
        /// Most bytes that the bodies of all requests together occupy, as text with a unit. Beyond it a new body waits for
        /// a second, then it is refused with 503.
        request_budget: String,
    }

    /// The record of what happened.
    journal: Journal {
        /// When a record counts as written: `always` after it is on the disk, `interval` when the system has it (it is on the
        /// disk within 20 ms), `never` when the system has it, to be put on the disk when the system likes. No crash of the
        /// process loses anything with any of them; a power cut may lose the last 20 ms with `interval`.
        sync: String,
    }

    /// Waiting for a free slot.
    queue: Queue {
        /// How long a request waits, in the order of arrival, while every candidate that could serve it is busy; then it is
        /// refused with 429. As text with a unit; `0s` refuses at once.
        max_wait: String,
    }

    /// Circuits of provider keys.
    breaker: Breaker {
        /// How long a provider key that fails is left alone before a request probes it, when its circuit opens for the first
        /// time; each opening after that doubles it, up to the key's `max_probe_interval_minutes`. As text with a unit.
        first_rest: String,
    }

    /// The end of the process.
    shutdown: Shutdown {
        /// How long open answers may take to end after SIGTERM, as text with a unit. A second signal ends them at once.
        grace: String,
    }

    /// What is said while running, on standard error.
    log: Log {
        /// The least level that is logged: `error`, `warn`, `info`, `debug`, `trace`, or `off`. Each request is one line at
        /// `info`.
        level: String,
        /// `text`, `json`, or `auto`: text on a terminal, else JSON.
        format: String,
    }
}
