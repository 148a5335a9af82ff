//! Wiring of the one binary: configuration, commands, listeners and jobs.
