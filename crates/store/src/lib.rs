//! The only crate with SQL and files: database, migrations, vault, journal and snapshots.
