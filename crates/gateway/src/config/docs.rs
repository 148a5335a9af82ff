//! `docs/configuration.md`, made of what `raw` and the defaults say.

use super::{
    MASTER_KEY,
    raw::{Form, KEYS, Key},
};
use std::fmt::Write as _;
use toml::{Table, Value};

const INTRODUCTION: &str = "\
# Configuration

<!-- Made from crates/gateway/src/config/raw.rs and default.toml; a test compares. UPDATE_DOCS=1 writes it anew. -->

Settings are read from the file that `--config` names, else from `tollgate.toml` in the working directory if there is one;
the environment counts over the file, and flags over both. What is set nowhere has its default. A setting that does not
exist, in the file or under `TOLLGATE_` in the environment, stops the start and names the nearest one that does.

The file is TOML. A setting whose name carries its unit is a number; other sizes and times are text with a unit: `512MiB`
(`B`, `kB`, `MB`, `GB`, `KiB`, `MiB`, `GiB`), `10m` (`ms`, `s`, `m`, `h`). In the environment a list has commas between its
entries. Providers, models, prices, people and keys are not settings: they are in the
[document](operations.md#the-catalog-as-a-document) that `apply` takes.

```toml
listen = \"0.0.0.0:8088\"
data_dir = \"/var/lib/tollgate\"
trusted_proxies = [\"10.0.0.0/8\"]

[admin]
listen = \"127.0.0.1:9090\"

[shutdown]
grace = \"5m\"
```

";

/// The page.
pub fn page() -> String {
    let defaults: Table = include_str!("../default.toml").parse().unwrap_or_default();
    let mut page = INTRODUCTION.to_owned();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(page, "| setting | default | environment |\n| --- | --- | --- |");
    for key in KEYS {
        let default = default(&defaults, key).map_or_else(|| "none".to_owned(), |value| format!("`{value}`"));
        let _ = writeln!(page, "| [`{0}`](#{1}) | {default} | `{2}` |", key.name, anchor(key.name), key.variable());
    }
    let _ = writeln!(page, "| | | [`{MASTER_KEY}`](#the-master-key) |");
    for key in KEYS {
        let form = match key.form {
            Form::Text => "Text",
            Form::Number => "Number",
            Form::List => "List of texts",
        };
        let default =
            default(&defaults, key).map_or_else(|| "No default.".to_owned(), |value| format!("Default: `{value}`."));
        let _ = writeln!(page, "\n## `{}`\n\n{}\n{form}. {default}", key.name, prose(key.doc));
    }
    let _ = write!(
        page,
        "\n## The master key\n\n\
         `{MASTER_KEY}` is base64 of 32 random bytes (`openssl rand -base64 32`) and opens the sealed secrets of the database.\n\
         Without it, the key is in the file `master.key` of the data directory, which the first start makes. It is read from\n\
         the environment only: a settings file is no place for it.\n"
    );
    page
}

fn default<'t>(defaults: &'t Table, key: &Key) -> Option<&'t Value> {
    match key.name.split_once('.') {
        Some((section, name)) => defaults.get(section)?.get(name),
        None => defaults.get(key.name),
    }
}

/// A declaration's comment as text.
fn prose(doc: &str) -> String {
    doc.lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).fold(String::new(), |text, line| text + line + "\n")
}

/// What a heading of a setting's name is linked by.
fn anchor(name: &str) -> String {
    name.replace('.', "")
}
